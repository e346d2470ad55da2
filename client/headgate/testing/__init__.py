"""A daemon for tests of programs that use Headgate: everything in memory, over real gRPC on a real socket.

    from headgate.testing import FakeDaemon

    def test_my_tool():
        with FakeDaemon() as daemon:
            daemon.write("/src/web", "app.conf", "port = ${PORT}")
            my_tool.main(address=daemon.address)
            assert daemon.files("/etc/web") == {"app.conf": b"port = 8080"}

It passes the same contract tests as the real daemon. Sources and targets are names here, not directories: nothing on disk is read or
written but the socket. What it does not model: modes, links and owners of files, ignore files and verbatim globs, settings of structured
files, healing of drift, failures of the machine. Calls can be made to fail (`fail_next`), deployments too (`fail_deployments`) or to
wait (`busy`), and `restart` is a restart.
"""

from __future__ import annotations

from headgate.testing.daemon import FakeDaemon

__all__ = ["FakeDaemon"]
