"""Children that do not outlive us, whatever ends us.

A process that is killed with SIGKILL cannot end its children: they would go on to write files that
the next run makes as well. PR_SET_PDEATHSIG would need code between fork and exec (no vfork: 1 ms
more per child of a small process, 10 of a large one), and reaches no grandchildren. So one small
shell reads a pipe of ours: at its end, which is ours, it ends the groups that were told to it. It
must not know what they run.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from subprocess import Popen

__all__ = ["OrphanGuard"]

# Nothing but what every sh has built in, `sleep` apart. It outlives what ends us.
_SCRIPT: Final = """
trap '' HUP INT QUIT TERM
all=' '
while read -r sign target; do
  case $sign in
    +) all="$all$target " ;;
    -) case $all in *" $target "*) all="${all%% $target *} ${all#* $target }" ;; esac ;;
  esac
done
[ "$all" = ' ' ] && exit
for target in $all; do kill -s TERM -- "$target"; done
sleep 0.5
for target in $all; do kill -s KILL -- "$target"; done
"""


class OrphanGuard:
    """Ends those that are watched when this process ends before it forgets them. Threads: any.

    Between the birth of a child and `watch` it is not safe: call `start` before, and `watch` at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the start and the end of the shell
        self._shell: Popen[bytes] | None = None
        self._is_closed = False

    def start(self) -> None:
        """Start the shell, unless it runs. Takes a millisecond."""
        import subprocess  # 9 ms, which nobody needs who starts no child

        with self._lock:
            if self._shell is not None or self._is_closed:
                return
            self._shell = subprocess.Popen(
                ("/bin/sh", "-c", _SCRIPT),
                cwd="/",  # it keeps no file system busy
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,  # what a terminal sends to us is not sent to it
            )

    def watch(self, pid: int, *, is_group: bool) -> None:
        """From here on the process, or its group, ends with us."""
        self.start()
        self._tell(f"+ {'-' if is_group else ''}{pid}\n")

    def forget(self, pid: int, *, is_group: bool) -> None:
        """It ended, or may go on."""
        self._tell(f"- {'-' if is_group else ''}{pid}\n")

    def close(self) -> None:
        """Forget all."""
        with self._lock:
            self._is_closed = True
            shell, self._shell = self._shell, None
        if shell is not None:
            assert shell.stdin is not None
            # A killed shell ends nobody; one at the end of its input would.
            shell.kill()
            shell.stdin.close()
            shell.wait()

    def _tell(self, line: str) -> None:
        shell = self._shell
        if shell is None:
            return
        assert shell.stdin is not None
        try:
            os.write(shell.stdin.fileno(), line.encode())  # so short that it is never torn
        except (BrokenPipeError, ValueError):
            pass  # somebody ended it: children are as safe as without it
