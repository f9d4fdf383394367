"""Installs the peers from their package registries, in the versions that their lock files pin.

They go into a cache folder outside the clone, one for each peer and content of its lock file.
"""

import hashlib
import os
import shutil
import subprocess
import sys

from .program import Failed

PROGRAMS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "programs")
# Seconds for one peer: compiling the Rust crate takes longest.
LIMIT = 1200
STAMP = ".installed"
LOCKS = {"pip": ["requirements.txt"], "npm": ["package.json", "package-lock.json"], "cargo": ["Cargo.toml", "Cargo.lock"]}


def all_of(peers):
    """The folders of those that could be installed, and what is wrong with the others."""
    homes, faults = {}, []
    for peer in peers:
        try:
            homes[peer] = install(peer)
        except Failed as failure:
            faults.append(f"{peer.name}: cannot be installed: {failure}")
            print(faults[-1], flush=True)
    return homes, faults


def install(peer):
    source = os.path.join(PROGRAMS, peer.folder)
    home = os.path.join(cache(), f"{peer.folder}-{digest(source, peer.registry)}")
    stamp = os.path.join(home, STAMP)
    if not os.path.exists(stamp):
        print(f"{peer.name} {peer.version}: installing it with {peer.registry}", flush=True)
        shutil.rmtree(home, ignore_errors=True)
        os.makedirs(home)
        {"pip": pip, "npm": npm, "cargo": cargo}[peer.registry](source, home)
        with open(stamp, "w", encoding="utf-8"):
            pass
    if peer.registry == "npm":
        # JavaScript finds its packages from where the program lies.
        for name in (os.path.join(source, "peer.mjs"), os.path.join(PROGRAMS, "common", "talk.mjs")):
            shutil.copy(name, home)
    elif peer.registry == "cargo":
        # The crates are compiled by now; this follows our own source.
        cargo(source, home)
    return home


def cache():
    base = os.environ.get("XDG_CACHE_HOME", "")
    base = base if os.path.isabs(base) else os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "syndarix-bench")


def digest(source, registry):
    state = hashlib.sha256(sys.version.encode() if registry == "pip" else b"")
    for name in LOCKS[registry]:
        with open(os.path.join(source, name), "rb") as file:
            state.update(file.read())
    return state.hexdigest()[:12]


def pip(source, home):
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--target", home, "--requirement", os.path.join(source, "requirements.txt")]
    run(command, source, {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"})


def npm(source, home):
    for name in LOCKS["npm"]:
        shutil.copy(os.path.join(source, name), home)
    # Without scripts: what one of them does is to report the installation to somebody.
    run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], home, {})


def cargo(source, home):
    environment = {"CARGO_TARGET_DIR": os.path.join(home, "target")}
    run(["cargo", "build", "--release", "--locked", "--quiet"], source, environment)


def run(command, folder, environment):
    try:
        ended = subprocess.run(
            command, cwd=folder, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=LIMIT,
        )
    except FileNotFoundError:
        raise Failed(f"{command[0]} is missing") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"{command[0]}: not done within {LIMIT} s") from None
    if ended.returncode:
        raise Failed(f"{command[0]} exited with {ended.returncode}:\n{ended.stdout.strip()[-800:]}")
