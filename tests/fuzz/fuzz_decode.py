"""Coverage-guided fuzzing of `decode`: whatever the bytes, it gives events that hold to the laws, or a `DecodeError`.

It needs atheris, which is not among the development dependencies since it has wheels for some Pythons on Linux only
(3.1.0: 3.11 to 3.13): `pip install atheris`. Then

    python tests/fuzz/fuzz_decode.py --seconds 600

starts from the documents in `tests/fuzz/corpus/`, which a test replays too. Of an input, the first byte says which kind
of event it is, the rest is the document. A finding is printed with its traceback, and its input is kept as `crash-*` in
the working directory: put it into the corpus under a telling name.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["rbhq_stream", "json", "cattrs"]):
    from rbhq_stream._wire import names as wire_names
    from tests.fuzz import decode_laws

CORPUS = Path(__file__).parent / "corpus"
OTHER_WORDS = ("payload", "1397808-7", "1397808:7", "OPEN", "FINAL", "ep", "epPlace", "2022-11-27T20:25:30.4400201Z")


def one_input(data: bytes) -> None:
    if data:
        decode_laws.check(decode_laws.KINDS[data[0] % len(decode_laws.KINDS)], data[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz decode.")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", type=Path, help="a directory for the inputs that reach new code")
    options = parser.parse_args()
    names = sorted({name for names in wire_names.NAMES_OF.values() for name in names.values()})
    with tempfile.TemporaryDirectory() as scratch:
        words = Path(scratch, "words")
        words.write_text("".join(f'"\\"{word}\\""\n' for word in (*names, *OTHER_WORDS)))
        kept = options.keep or Path(scratch, "kept")
        kept.mkdir(parents=True, exist_ok=True)
        limits = [f"-max_total_time={options.seconds}", "-max_len=4096", "-timeout=10", f"-dict={words}"]
        atheris.Setup([sys.argv[0], str(kept), str(CORPUS), *limits, "-print_final_stats=1"], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
