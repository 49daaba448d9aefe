"""How people work, as far as their answers tell: arrays in, arrays out, a question a file.

Answers are `(M, 3)` int64 rows of item, annotator and class, one per item and annotator. Nobody is judged by their own
word: whatever is said of an answer rests on the answers of others, or on what is known. Where these say too little the
result says so, with a wide interval or with nothing.
"""
