#!/bin/sh
# Runs inside the image while it is built, as its root: install.sh cpu|cuda|rocm.
# In: /mnt (constraints.txt, pyproject.toml, pip.conf, options). Out: /opt/sft, a virtual environment that holds exactly
# what pyproject.toml asks for, at exactly the versions of the lock; labels that say so.
set -eu
flavour=$1
extras='' with='' torch_index='' allow_unlocked=''
# shellcheck source=/dev/null
. /mnt/options

export DEBIAN_FRONTEND=noninteractive PIP_CONFIG_FILE=/mnt/pip.conf PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
export PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1 PATH="/opt/sft/bin:$PATH"

apt() { apt-get -qq -y -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 "$@"; }

if ! command -v g++ >/dev/null || ! python3 -c 'import ensurepip' 2>/dev/null; then
  apt update
  apt install --no-install-recommends python3 python3-venv python3-dev g++ ca-certificates
fi
python3 -m venv /opt/sft

# The distributions behind the project's extras; deepspeed apart, because only its source is published.
packages=$(
  python3 - "$extras" "$with" <<'PY'
import re, sys, tomllib
project = tomllib.load(open("/mnt/pyproject.toml", "rb"))["project"]
def requirements(lines):
    for line in lines:
        own = re.fullmatch(project["name"] + r"\[(.+)\]", line.replace(" ", ""))
        if own:
            for extra in own[1].split(","):
                yield from requirements(project["optional-dependencies"][extra])
        else:
            yield line.replace(" ", "")
wanted = [*project["dependencies"], f"{project['name']}[{sys.argv[1]}]", *filter(None, sys.argv[2].split(","))]
print(*dict.fromkeys(requirements(wanted)), sep="\n")
PY
)
deepspeed=$(echo "$packages" | grep '^deepspeed' || true)
packages=$(echo "$packages" | grep -v '^deepspeed')

# torch first: the same version is published for each kind, and the wrong one would be gigabytes of the wrong thing.
pip install -q -c /mnt/constraints.txt ${torch_index:+--index-url "$torch_index"} torch
backend=$(python3 -W ignore -c 'import torch; print("cuda" if torch.version.cuda else "rocm" if torch.version.hip else "cpu")')
if [ "$backend" != "$flavour" ]; then
  echo "pip found torch for $backend; give build.sh --torch-index an index that has it for $flavour" >&2
  exit 1
fi
# shellcheck disable=SC2086 # one argument a line
pip install -q -c /mnt/constraints.txt $packages
if [ -n "$deepspeed" ]; then
  # Its CPU communication op is built now, so that no compiler is needed later (and for any x86-64, not this one).
  accelerator=$([ "$flavour" = cpu ] && echo cpu || echo cuda)
  shm=$([ "$flavour" = cpu ] && echo 1 || echo 0)
  pip install -q -c /mnt/constraints.txt setuptools wheel ninja
  DS_BUILD_OPS=0 DS_BUILD_SHM_COMM=$shm DS_ACCELERATOR=$accelerator \
    pip install -q -c /mnt/constraints.txt --no-build-isolation "$deepspeed"
fi
pip check

# What was installed but is not in the lock would be another version tomorrow.
unlocked=$(
  python3 - <<'PY'
import importlib.metadata, re
def name(text):
    return re.sub(r"[-_.]+", "-", text).lower()
pins = dict(line.split("#")[0].strip().split("==") for line in open("/mnt/constraints.txt") if "==" in line)
pins = {name(key): version for key, version in pins.items()}
for found in importlib.metadata.distributions(path=[p for p in __import__("sys").path if p.startswith("/opt/sft")]):
    own = name(found.metadata["Name"])
    if own not in ("pip", "setuptools", "wheel") and pins.get(own) != found.version.split("+")[0]:
        print(f"{own}=={found.version}")
PY
)
if [ -n "$unlocked" ]; then
  echo "not in the lock (add to constraints.txt):" >&2
  echo "$unlocked" | sort >&2
  [ "$allow_unlocked" = yes ] || exit 1
fi

site=$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
if [ "$flavour" = cpu ]; then # what only a GPU could use, and a compiler that nothing needs any more
  find "$site/bitsandbytes" -name 'libbitsandbytes_*.so' ! -name 'libbitsandbytes_cpu.so' -delete
  apt purge --auto-remove g++ python3-dev
fi
rm -rf "$site/torch/test"
find "$site/torch/bin" -iname '*test*' -delete
rm -rf /usr/share/doc/* /usr/share/man/* /usr/share/info/* /usr/share/locale/* /var/lib/apt/lists/* /var/cache/apt/*
find /var/log -type f -delete

{
  echo "sftlib.flavour $flavour"
  echo "sftlib.extras $extras"
  echo "sftlib.lock.sha256 $(sha256sum /mnt/constraints.txt | cut -d' ' -f1)"
  echo "sftlib.unlocked $(echo "$unlocked" | wc -w)"
  echo "sftlib.python $(python3 -c 'import platform; print(platform.python_version())')"
  for package in torch transformers trl peft accelerate datasets; do
    echo "sftlib.$package $(python3 -c "import importlib.metadata as m; print(m.version('$package'))")"
  done
} >>"$APPTAINER_LABELS"
