"""Files and links made so that fetching them, or removing them, costs the worker."""

import pytest
from fortress import Attack, Fortress

# Links in every shape, `asked` for by name.
LINKS = {
    "a chain": "open('end', 'w')\nfor n in range(3000): os.symlink(str(n + 1) if n < 2999 else 'end', str(n))",
    "a chain of directories": "os.mkdir('3000')\nfor n in range(3000): os.symlink(str(n + 1), str(n))",
    "a ring": "os.symlink('1', '0'); os.symlink('0', '1')",
    "a ring through itself": "os.symlink('0/0', '0')",
    "a fan": "os.symlink('1/1', '0')\nfor n in range(1, 60): os.symlink(f'{n + 1}/' * 20, str(n))",
    "a long target": "os.symlink('a/' * 2000, '0')",
    "a name that cannot be decoded": "os.symlink(b'\\xff\\xfe', '0')",
    "an interpreter's file": "os.symlink(os.__file__, '0')",
    "the worker's descriptors": "os.symlink('/proc/self/fd/0', '0')",
    "the worker's root": "os.symlink('/proc/self/root/etc/passwd', '0')",
    "the first process": "os.symlink('/proc/1/environ', '0')",
    "a pipe": "os.mkfifo('0')",
    "a device": "os.symlink('/dev/full', '0')",
    "a second name": "open('x', 'w').write('x'); os.link('x', '0')",
    "a neighbour of the directory": "open('../0', 'w').write('x'); os.symlink('../0', '0')",
    "a directory of almost the same name": "d = os.getcwd() + '1'; os.mkdir(d); open(d + '/0', 'w').write('x'); "
    "os.symlink(d + '/0', '0')",
    "a directory closed": "os.mkdir('d'); open('d/x', 'w').write('x'); os.chmod('d', 0); os.symlink('d/x/0', '0')",
    "the directory itself": "d = os.getcwd(); os.rename(d, d + '1'); os.symlink('/etc', d)",
}

# What `remove` has to do with.
TREES = {
    "the next name taken": "os.makedirs(cwd + '.1/x'); os.mkdir('a')",
    "many names taken": "[os.makedirs(cwd + f'.{n}/x') for n in range(20)]\nos.makedirs('a/b/c/d/e')",
    "a file by the next name": "open(cwd + '.1', 'w'); os.mkdir('a')",
    "a link by the next name": "os.symlink('/etc', cwd + '.1'); os.mkdir('a')",
    "a directory by the longest name": "d = '/tmp/' + 'a' * 255; os.makedirs(d + '/b/c'); open(d + '/b/c/d', 'w')",
    "names that cannot be decoded": "os.makedirs(b'/tmp/\\xff\\xfe/\\xff/x')",
    "a deep tree": "for n in range(1500): os.mkdir('d' * 200); os.chdir('d' * 200)",
    "a wide and closed tree": "for n in range(3000): os.makedirs(f'{n % 7}/{n}', 0)",
    "a file in place of the directory": "os.rmdir(cwd) if not os.listdir(cwd) else os.rename(cwd, cwd + '.1'); "
    "open(cwd, 'w')",
}


def attacks() -> list[Attack]:
    """All of the above."""
    asked = ("0", "0/a", "0/0/0", "1", "d/0", "29/../0")
    links = [Attack(f"fetch {name}", code + "\nprint('done')", "done\n", fetch=asked) for name, code in LINKS.items()]
    top = "cwd = os.getcwd()\n"
    trees = [Attack(f"remove {name}", top + code + "\nprint('done')", "done\n") for name, code in TREES.items()]
    return links + trees


def check(server: Fortress, attack: Attack) -> None:
    """It ends as a program does, no worker is lost, and nothing is fetched or left."""
    before = server.words().count("is lost")
    answer = server.withstands(attack)
    assert answer["run_result"]["stdout"] == attack.expect, (answer, server.words())
    assert server.words().count("is lost") == before


@pytest.mark.parametrize("attack", attacks(), ids=lambda attack: attack.name)
def test_no_file_costs_a_worker(fortress: Fortress, attack: Attack):
    """As root."""
    check(fortress, attack)


@pytest.mark.parametrize("attack", attacks(), ids=lambda attack: attack.name)
def test_no_file_costs_a_worker_without_root(other_fortress: Fortress, attack: Attack):
    """As an ordinary user."""
    check(other_fortress, attack)


def test_honest_links_are_followed(fortress: Fortress):
    """A link inside the directory, relative or whole, leads to the file, and a closed file is opened."""
    code = (
        "import os\nos.makedirs('a/b')\nopen('a/b/c', 'w').write('c')\nos.chmod('a/b/c', 0)\n"
        "os.symlink('a/b/c', 'x')\nos.symlink(os.path.abspath('a/b'), 'y')\nos.symlink('../b/c', 'a/b/z')"
    )
    answer = fortress.run(code, fetch=("x", "y/c", "a/b/z", "a/../a/b/c", "./x", "nothing"))
    assert answer["files"] == dict.fromkeys(("x", "y/c", "a/b/z", "a/../a/b/c", "./x"), "Yw==")
