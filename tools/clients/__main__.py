"""Write the clients: `python -m tools.clients [LANGUAGE ...]`."""

import argparse
import sys
from pathlib import Path

from tools.clients import GENERATORS, OUTPUT, SPEC, GenerationFailed, generate
from tools.installed import NotInstalled


def main() -> int:
    """Generate each language asked for, all by default; the exit code is 0 only when all went well."""
    parser = argparse.ArgumentParser(
        "python -m tools.clients", description="Generate clients of the envelope."
    )
    parser.add_argument(
        "languages", nargs="*", metavar="LANGUAGE", help=f"{', '.join(GENERATORS)} (default: all)"
    )
    parser.add_argument("--spec", type=Path, default=SPEC, help="another document")
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, help="folder of the clients (default: clients)"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.languages) - set(GENERATORS):
        parser.error(f"no generator for {', '.join(sorted(unknown))}")
    for language in arguments.languages or GENERATORS:
        folder = arguments.output / language
        try:
            generate(language, folder, arguments.spec)
        except (GenerationFailed, NotInstalled) as error:
            print(f"{language}: {error}", file=sys.stderr)
            return 1
        print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
