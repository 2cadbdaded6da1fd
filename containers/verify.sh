#!/bin/bash
# In: an image. Out: JSON on standard output that says what is in it; exit 1 and the reasons if it is not fit for use.
set -euo pipefail

usage() {
  cat <<'TEXT'
verify.sh IMAGE [--signature] [--quick]: prove what is in an image.

Prints JSON: size, sha256, labels, Python and package versions, import times, GPU (where there is one), start time, and
`problems`: imports that fail, weights or pip configuration left inside, a kind that is not the label's, and what looks like a
secret in a file, in the environment, in labels or in the definition. Exit 1 if any.
  --signature   also demand a valid signature (apptainer verify)
  --quick       look, but import nothing
Example: containers/verify.sh sft-cpu.sif | python3 -m json.tool
TEXT
}

die() { printf 'verify.sh: %s\n' "$*" >&2 && exit 2; }

image='' signature=no quick=no
while (($#)); do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --signature) signature=yes ;;
    --quick) quick=yes ;;
    --*) die "no option $1; verify.sh --help lists them" ;;
    *) image=$1 ;;
  esac
  shift
done
[ -n "$image" ] || { usage && exit 2; }
[ -f "$image" ] || die "$image: no such image file; containers/build.sh makes one"
for runtime in apptainer singularity; do command -v "$runtime" >/dev/null && break; done
command -v "$runtime" >/dev/null || die "no apptainer here; run containers/install-apptainer.sh"

gpu=()
if [ -e /dev/nvidiactl ]; then gpu=(--nv); elif [ -e /dev/kfd ]; then gpu=(--rocm); fi

work=$(mktemp -d "${TMPDIR:-/tmp}/sft-verify-XXXXXX")
trap 'rm -rf "$work"' EXIT

# What the host would hand in is none of the image's doing.
for name in "${!APPTAINERENV_@}" "${!SINGULARITYENV_@}"; do unset "$name"; done

# The probe comes from here, not out of the image, which could say anything. Nothing of the host is visible to it.
inside() { "$runtime" --silent exec --cleanenv --containall "${gpu[@]}" "$image" "$@"; }

cat >"$work/probe.py" <<'PY'
import importlib, importlib.metadata, json, os, platform, re, sys, time

QUICK = sys.argv[1] == "yes"
STAGE_MODULES = ("numpy", "pyarrow.parquet", "yaml", "pydantic", "torch", "transformers", "datasets", "accelerate", "peft",
                 "trl", "bitsandbytes", "deepspeed", "tensorboard", "matplotlib")
WEIGHTS = (".safetensors", ".gguf", ".pt", ".pth", ".ckpt", ".bin")
LARGE = 5_000_000
# Files that hold passwords or tokens, by the end of their path.
KEYS = ("/pip.conf", "/.netrc", "/.pypirc", "/.git-credentials", "/.docker/config.json", "/.aws/credentials",
        "/huggingface/token", "/.ssh/id_rsa", "/.ssh/id_ed25519")
SECRET_NAME = re.compile(r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|API_?KEY)(_|$)", re.IGNORECASE)

def version_of(packages, module):
    owners = {"yaml": "pyyaml", "pyarrow.parquet": "pyarrow"}
    return packages.get(owners.get(module, module))

def find_leftovers():
    """Weights, and files that hold passwords or tokens."""
    for top, folders, files in os.walk("/", onerror=None):
        folders[:] = [f for f in folders if not (top == "/" and f in ("proc", "sys", "dev", "tmp", "run"))]
        for file in files:
            path = os.path.join(top, file)
            if path.endswith(KEYS):
                yield path
            elif file.endswith(WEIGHTS) and not os.path.islink(path) and os.path.getsize(path) > LARGE:
                yield path

packages = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in importlib.metadata.distributions()}
imports, problems = {}, []
for module in () if QUICK else STAGE_MODULES:
    if version_of(packages, module) is None:
        continue
    start = time.perf_counter()
    try:
        importlib.import_module(module)
        imports[module] = round(time.perf_counter() - start, 2)
    except Exception as error:
        problems.append(f"import {module}: {type(error).__name__}: {error}")
for module in ("torch", "transformers", "trl", "peft", "datasets", "accelerate"):
    if module not in packages:
        problems.append(f"{module} is not installed")
problems += [f"left in the image: {path}" for path in find_leftovers()]
problems += [f"{name} is set in the image's environment: a secret?" for name, value in os.environ.items()
             if value and SECRET_NAME.search(name)]
torch = sys.modules.get("torch")
seen = {"backend": None, "devices": []}
if torch:
    seen["backend"] = "cuda" if torch.version.cuda else "rocm" if torch.version.hip else "cpu"
    seen["version"] = torch.version.cuda or torch.version.hip
    if torch.cuda.is_available():
        seen["devices"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print("\n" + json.dumps({"python": platform.python_version(), "packages": packages, "import_seconds": imports,
                         "accelerator": seen, "problems": problems}))
PY

# Definition, metadata: everything in the file but the file system.
mkdir "$work/objects"
for id in $("$runtime" sif list "$image" 2>/dev/null | awk -F'|' '$1 ~ /^[0-9]+ *$/ && $5 !~ /^FS/ { print $1 + 0 }'); do
  "$runtime" sif dump "$id" "$image" >"$work/objects/$id"
done
"$runtime" inspect --json --labels "$image" >"$work/labels.json" 2>/dev/null
inside true # once for the page cache: what is measured is the start, not the disk
begin=$(date +%s%N)
inside python3 -c '' || die "python3 does not start in $image"
start_ms=$((($(date +%s%N) - begin) / 1000000))
inside python3 - "$quick" <"$work/probe.py" >"$work/probe.out" 2>"$work/probe.err" || { tail -n 5 "$work/probe.err" >&2 && die "the probe failed in $image"; }
signed=unchecked
if [ "$signature" = yes ]; then
  signed=valid
  "$runtime" verify "$image" >"$work/signature" 2>&1 || signed=$(tail -n 1 "$work/signature")
fi

python3 - "$image" "$work" "$start_ms" "$signed" "${gpu[*]}" <<'PY'
import hashlib, json, re, sys
from pathlib import Path
image, work, start_ms, signed, gpu = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
inside = json.loads((work / "probe.out").read_text().strip().splitlines()[-1])
labels = json.loads((work / "labels.json").read_text())["data"]["attributes"]["labels"] or {}
problems = inside.pop("problems")
SECRETS = {
    "an address with a password": r"://[^/\s:@\"']+:[^/\s@\"']+@",
    "a token of a model hub": r"\bhf_[A-Za-z0-9]{30,}",
    "a key of a cloud": r"\bAKIA[0-9A-Z]{16}\b",
    "a variable with a secret's name": r"\b\w*(?:TOKEN|SECRET|PASSWORD|API_?KEY)\w*=[^\s$\"'{]+",
}
for part in (*sorted((work / "objects").iterdir()), work / "labels.json"):
    text = part.read_text(errors="replace")
    problems += [f"{what} in the image's definition or labels" for what, how in SECRETS.items() if re.search(how, text)]
problems = list(dict.fromkeys(problems))
with image.open("rb") as file:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
flavour, backend = labels.get("sftlib.flavour"), inside["accelerator"]["backend"]
if flavour is None:
    problems.append("no label sftlib.flavour: not made by containers/build.sh")
elif backend not in (None, flavour):
    problems.append(f"the label says {flavour}, torch is for {backend}")
if gpu and flavour != "cpu" and backend and not inside["accelerator"]["devices"]:
    problems.append(f"this machine has a GPU, but torch sees none with {gpu}")
if signed not in ("unchecked", "valid"):
    problems.append(f"signature: {signed}")
shown = {"image": str(image.resolve()), "sha256": digest, "size_bytes": image.stat().st_size, "start_ms": start_ms,
         "signature": signed, "labels": labels, **inside, "problems": problems}
print(json.dumps(shown, indent=2, sort_keys=False))
sys.exit(1 if problems else 0)
PY
