import sys

from optlstm.util.interrupts import interruptible


def main() -> int:
    with interruptible() as received:
        try:
            from optlstm.cli import main as run  # a moment, in which Ctrl-C is no traceback either
        except BaseException:
            if not received:
                raise
            print("interrupted", file=sys.stderr)
            return 128 + received[0]
        return run()


if __name__ == "__main__":
    sys.exit(main())
