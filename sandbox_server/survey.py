"""What a machine allows of the isolation, told so that the reader can change it."""

from dataclasses import dataclass

from sandbox_server.isolation import Isolation, IsolationPolicy, Protection

_WAYS_OUT = """\
Ways out:
  as root in Docker: docker run --cap-add SYS_ADMIN --security-opt apparmor=unconfined --security-opt seccomp=unconfined
  as root in Kubernetes: securityContext with capabilities.add: [SYS_ADMIN], and both profiles of type Unconfined
  not root, on the machine: sysctl -w user.max_user_namespaces=10000; on Debian also kernel.unprivileged_userns_clone=1;
    on Ubuntu also kernel.apparmor_restrict_unprivileged_userns=0
  not root, in Docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined
    --security-opt systempaths=unconfined, on such a machine; the server needs Linux 5.14 or newer
  or accept what is missing, where the programs are trusted: --isolation {accept}, in a launch
    tir.sandbox.isolation={accept}"""


@dataclass(frozen=True)
class Refusal:
    """A level of isolation that does not work here."""

    isolation: Isolation
    """The level."""

    reason: str
    """What the kernel, or a program that was tried, answered."""


@dataclass(frozen=True)
class Survey:
    """What a machine allows."""

    isolation: Isolation
    """The strongest level that works."""

    refusals: tuple[Refusal, ...] = ()
    """The stronger ones, strongest first."""

    @property
    def missing(self) -> tuple[Protection, ...]:
        """The protections that cannot be had."""
        return self.isolation.missing()

    def complaint(self) -> str:
        """What is missing, why, and the ways out, in a few lines."""
        lines = ["this machine does not allow to wall programs off. Missing:"]
        lines += [f"  {protection}" for protection in self.missing]
        lines += ["What it answered, from the strongest isolation down:"] if self.refusals else []
        for refusal in self.refusals:
            names = ", ".join(protection.name.lower() for protection in refusal.isolation.in_force())
            lines.append(f"  {names or 'none'}: {refusal.reason}")
        return "\n".join([*lines, _WAYS_OUT.format(accept=IsolationPolicy.BEST_EFFORT)])
