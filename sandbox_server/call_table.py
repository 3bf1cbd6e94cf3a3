"""The kernel calls that programs and their worker may make; whatever is not here is refused, new calls included.

Traced of CPython and its standard library, numpy, scipy, sympy, pandas, matplotlib, torch, numba, and of the system's
shells, tools and compilers. Not here although somebody may ask for it:

- what gives a program more to attack: namespaces and mounts, tracing, io_uring, bpf, performance events, userfaultfd,
  seccomp itself, keys, modules, legacy asynchronous input and output (whose count is one for the machine);
- what outlives a program: System V objects, message queues, extended attributes;
- what no limit counts: memfd_create, vmsplice, shared anonymous pages;
- what reaches other programs: scheduling, priorities and affinity, sync and syncfs, mincore and cachestat, signals
  through process descriptors, and flock and inotify, which work on files that all programs see.
"""

from enum import IntEnum


class Processor(IntEnum):
    """Whose numbers; the value is their place in `ALLOWED`."""

    X86_64 = 0
    AARCH64 = 1


ALLOWED: dict[str, tuple[int | None, int | None]] = {
    # name: (number on x86_64, number on aarch64)
    # Memory.
    **{"mmap": (9, 222), "munmap": (11, 215), "mremap": (25, 216), "mprotect": (10, 226), "msync": (26, 227)},
    **{"brk": (12, 214), "madvise": (28, 233)},
    # Files that are open.
    **{"read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67)},
    **{"pwrite64": (18, 68), "preadv": (295, 69), "pwritev": (296, 70), "lseek": (8, 62), "close": (3, 57)},
    **{"close_range": (436, 436), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "fcntl": (72, 25)},
    **{"ioctl": (16, 29), "sendfile": (40, 71), "copy_file_range": (326, 285), "splice": (275, 76), "fsync": (74, 82)},
    **{"fdatasync": (75, 83), "ftruncate": (77, 46), "fallocate": (285, 47), "fadvise64": (221, 223), "fstat": (5, 80)},
    **{"fstatfs": (138, 44), "fchmod": (91, 52), "fchown": (93, 55), "fchdir": (81, 50), "getdents": (78, None)},
    **{"getdents64": (217, 61), "fgetxattr": (193, 10), "flistxattr": (196, 13)},
    # Files by name.
    **{"open": (2, None), "openat": (257, 56), "openat2": (437, 437), "creat": (85, None), "access": (21, None)},
    **{"faccessat": (269, 48), "faccessat2": (439, 439), "stat": (4, None), "lstat": (6, None)},
    **{"newfstatat": (262, 79), "statx": (332, 291), "statfs": (137, 43), "truncate": (76, 45), "readlink": (89, None)},
    **{"readlinkat": (267, 78), "getxattr": (191, 8), "lgetxattr": (192, 9), "listxattr": (194, 11)},
    **{"llistxattr": (195, 12), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276)},
    **{"mkdir": (83, None), "mkdirat": (258, 34), "mknod": (133, None), "mknodat": (259, 33), "rmdir": (84, None)},
    **{"unlink": (87, None), "unlinkat": (263, 35), "link": (86, None), "linkat": (265, 37), "symlink": (88, None)},
    **{"symlinkat": (266, 36), "chmod": (90, None), "fchmodat": (268, 53), "fchmodat2": (452, 452)},
    **{"chown": (92, None), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None)},
    **{"utimensat": (280, 88), "futimesat": (261, None), "umask": (95, 166), "chdir": (80, 49), "getcwd": (79, 17)},
    # Waiting.
    **{"poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72), "epoll_create": (213, None)},
    **{"epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None), "epoll_pwait": (281, 22)},
    **{"epoll_pwait2": (441, 441), "eventfd": (284, None), "eventfd2": (290, 19), "signalfd": (282, None)},
    **{"signalfd4": (289, 74), "futex": (202, 98), "futex_waitv": (449, 449), "set_robust_list": (273, 99)},
    **{"get_robust_list": (274, 100), "rseq": (334, 293), "restart_syscall": (219, 128)},
    # Pipes and sockets.
    **{"pipe": (22, None), "pipe2": (293, 59), "socket": (41, 198), "socketpair": (53, 199), "bind": (49, 200)},
    **{"listen": (50, 201), "accept": (43, 202), "accept4": (288, 242), "connect": (42, 203), "getsockname": (51, 204)},
    **{"getpeername": (52, 205), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269)},
    **{"recvfrom": (45, 207), "recvmsg": (47, 212), "recvmmsg": (299, 243), "shutdown": (48, 210)},
    **{"setsockopt": (54, 208), "getsockopt": (55, 209)},
    # Processes.
    **{"fork": (57, None), "vfork": (58, None), "clone": (56, 220), "execve": (59, 221), "execveat": (322, 281)},
    **{"exit": (60, 93), "exit_group": (231, 94), "wait4": (61, 260), "waitid": (247, 95), "kill": (62, 129)},
    **{"tkill": (200, 130), "tgkill": (234, 131), "pidfd_open": (434, 434)},
    **{"set_tid_address": (218, 96), "arch_prctl": (158, None), "prctl": (157, 167), "getpid": (39, 172)},
    **{"getppid": (110, 173), "gettid": (186, 178), "getpgrp": (111, None), "getpgid": (121, 155)},
    **{"setpgid": (109, 154), "getsid": (124, 156)},
    # Signals.
    **{"rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigpending": (127, 136)},
    **{"rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133), "rt_sigqueueinfo": (129, 138)},
    **{"rt_tgsigqueueinfo": (297, 240), "sigaltstack": (131, 132), "pause": (34, None), "alarm": (37, None)},
    **{"getitimer": (36, 102), "setitimer": (38, 103)},
    # Time.
    **{"time": (201, None), "gettimeofday": (96, 169), "clock_gettime": (228, 113), "clock_getres": (229, 114)},
    **{"clock_nanosleep": (230, 115), "nanosleep": (35, 101), "times": (100, 153), "timer_create": (222, 107)},
    **{"timer_settime": (223, 110), "timer_gettime": (224, 108), "timer_getoverrun": (225, 109)},
    **{"timer_delete": (226, 111), "timerfd_create": (283, 85), "timerfd_settime": (286, 86)},
    **{"timerfd_gettime": (287, 87)},
    # Who and how much. The users are for the worker: a program has no privilege to change its own.
    **{"getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177)},
    **{"getgroups": (115, 158), "getresuid": (118, 148), "getresgid": (120, 150), "setuid": (105, 146)},
    **{"setgid": (106, 144), "setgroups": (116, 159), "setreuid": (113, 145), "setregid": (114, 143)},
    **{"setresuid": (117, 147), "setresgid": (119, 149), "setfsuid": (122, 151), "setfsgid": (123, 152)},
    **{"capget": (125, 90), "capset": (126, 91), "getrlimit": (97, 163), "setrlimit": (160, 164)},
    **{"prlimit64": (302, 261), "getrusage": (98, 165), "getpriority": (140, 141), "sched_yield": (24, 124)},
    **{"sched_getaffinity": (204, 123), "sched_getparam": (143, 121), "sched_getscheduler": (145, 120)},
    **{"sched_get_priority_max": (146, 125), "sched_get_priority_min": (147, 126), "getcpu": (309, 168)},
    **{"sysinfo": (99, 179), "uname": (63, 160), "getrandom": (318, 278)},
}

IDLE: dict[str, tuple[int | None, int | None]] = {"setsid": (112, 157)}
"""Answered as if it had been done: programs call it for tidiness, and a session of its own may be a share of the
processors of its own."""

ABSENT: dict[str, tuple[int | None, int | None]] = {"flock": (73, 32), "preadv2": (327, 286), "pwritev2": (328, 287)}
"""Refused as if the kernel lacked them: libraries then take another way, and with EPERM they would give up."""
