import gc
import os
import sys

# What is imported and drawn is no garbage: looking for it takes a tenth of that time.
gc.set_threshold(50_000, 20, 100)


def _leave_working_folder() -> None:
    """`python -m` imports from the working folder first, whatever lies there, unless it is where optlstm lies."""
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()] != [home]:
        del sys.path[0]


if __name__ == "__main__":
    _leave_working_folder()  # before anything else is imported

from optlstm.util.interrupts import interruptible  # noqa: E402


def main() -> int:
    if sys.platform == "win32":  # no file locks, no signal masks, no inherited files: docs/platforms.md
        print("optlstm: runs on Linux and macOS; on Windows use it in WSL 2", file=sys.stderr)
        return 1
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
