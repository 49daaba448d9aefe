"""Functions run in processes of their own, measured."""

from pathlib import Path

import pytest

from benchmarks import peers


def test_what_comes_before_the_first_yield_is_measured_apart(tmp_path: Path) -> None:
    script = tmp_path / "peer.py"
    script.write_text(
        "import time\n"
        "def burn(seconds, megabytes):\n"
        "    began = time.process_time()\n"
        "    while time.process_time() < began + seconds: pass\n"
        "    return len(b'x' * megabytes * 2**20)\n"
        "def work(seconds):\n"
        "    burn(seconds, 100)\n"
        "    yield\n"
        "    yield {'bytes': burn(seconds / 2, 1)}\n"
    )
    found = peers.run(script, "work", in_python=peers.OURS, seconds=0.4)
    assert found.result == {"bytes": 2**20}
    assert 0.2 <= found.cpu_seconds < 0.4 <= found.import_cpu_seconds
    assert 0 < found.peak_rss_bytes < 100 * 2**20


def test_what_a_failing_peer_printed_is_told(tmp_path: Path) -> None:
    script = tmp_path / "peer.py"
    script.write_text("def work():\n    yield\n    print('so far')\n    raise KeyError('lost')\n")
    with pytest.raises(RuntimeError, match=r"peer.py:work ended with 1: so far\n(.|\n)*KeyError: 'lost'"):
        peers.run(script, "work", in_python=peers.OURS)
