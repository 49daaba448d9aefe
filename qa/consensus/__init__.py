"""What is most likely true, given who answered what: an algorithm a file, all on the same table of answers.

A table is `(M, 3)` int64 rows of item, annotator and class, one per item and annotator; `known` `(N,)` int64 holds the
class of an item that is settled, -1 of all others. Where annotators draw, `regions` finds the items first; where they
choose several classes, `multilabel` makes each an item of its own.
"""
