# shellcheck shell=bash
# What the scripts share: places, output, privileges, and the idempotent `ensure_*` steps.
# Sourced, never run. Everything that is downloaded or built lives under $CACHE; `rm -r .cache` is always safe.
#
# Environment:
#   KENNEL_CACHE      where downloads go (default: .cache of this checkout; share it between checkouts to save time)
#   CARGO_TARGET_DIR  honoured as cargo does (default: target/)

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${KENNEL_CACHE:-$ROOT/.cache}
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
[[ $CACHE == /* ]] || CACHE=$PWD/$CACHE
[[ $TARGET == /* ]] || TARGET=$PWD/$TARGET
export CARGO_TARGET_DIR=$TARGET

# The pinned copy of each tool comes before whatever else the machine has.
export PATH="$CACHE/tools/bin:$PATH"

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' plain=$'\e[0m'
else
  bold='' dim='' red='' green='' yellow='' plain=''
fi

heading() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
say() { printf '%s\n' "$*"; }
note() { printf '%s%s%s\n' "$yellow" "$*" "$plain"; }
die() {
  printf '%serror:%s %s\n' "$red" "$plain" "$*" >&2
  exit 1
}

now_ms() { date +%s%3N; }
# seconds FROM_MS: the time since then, as people read it.
seconds() {
  local ms=$(($(now_ms) - $1))
  printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
}

# step NAME COMMAND…: runs it with its output in a log; one line when it went well, the log's end when not.
step() {
  local name=$1 log start failed=0
  shift
  mkdir -p "$CACHE/log"
  log=$CACHE/log/${name//[^a-zA-Z0-9._-]/-}.log
  start=$(now_ms)
  # Not as a condition: there, bash would run on past the first failure inside a function.
  set +e
  (
    set -e
    "$@"
  ) >"$log" 2>&1 </dev/null
  failed=$?
  set -e
  if ((failed == 0)); then
    printf '  %sok%s  %-44s %s\n' "$green" "$plain" "$name" "$(seconds "$start")"
  else
    printf '  %sno%s  %-44s %s\n' "$red" "$plain" "$name" "$(seconds "$start")"
    tail -n 40 "$log" >&2
    die "'$name' failed; the whole log is $log"
  fi
}
already() { printf '  %sok%s  %-44s %salready there%s\n' "$green" "$plain" "$1" "$dim" "$plain"; }

have() { command -v "$1" >/dev/null 2>&1; }

# as_root COMMAND…: as it is for root, else through sudo without a prompt.
as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  elif have sudo && sudo -n true 2>/dev/null; then
    sudo -n "$@"
  else
    die "this needs root: $*
       run it yourself, or run this script as root or where sudo asks for no password"
  fi
}

# --- System packages -------------------------------------------------------------------------------------------

# system_package PACKAGE COMMAND: installs PACKAGE unless COMMAND (a name, or an absolute path) is there.
system_package() {
  if have "$2" || [[ -x $2 ]]; then
    already "$1"
    return
  fi
  have apt-get || die "$2 is missing, and there is no apt-get here: install $1 with your system's package manager"
  step "apt $1" install_package "$1"
}

install_package() {
  local guard=''
  # A package must not start a service on a developer's machine: tests start their own, on a free port.
  if [[ -d /run/systemd/system ]] && ! systemctl cat "$1" >/dev/null 2>&1; then
    guard=$1
    as_root systemctl mask "$1" || guard=''
  fi
  if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$1"; then
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$1"
  fi
  if [[ -n $guard ]]; then
    as_root systemctl unmask "$guard"
    as_root systemctl disable "$guard" || true
  fi
}

# --- Python ----------------------------------------------------------------------------------------------------

# The first Python that is new enough for the pinned packages and can make a virtual environment.
find_python() {
  local python
  for python in "${KENNEL_PYTHON:-}" python3 /usr/bin/python3 python3.11 python3.12 python3.13; do
    if [[ -n $python ]] && have "$python" && "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      command -v "$python"
      return
    fi
  done
  return 1
}

# python_env NAME FOLDER [PIP OPTION…]: $CACHE/FOLDER as scripts/requirements/NAME.txt says; remade when that changes.
python_env() {
  local name=$1 list=$ROOT/scripts/requirements/$1.txt dir=$CACHE/$2 stamp
  shift 2
  stamp=$(sha256sum "$list" | cut -d' ' -f1)
  if [[ -x $dir/bin/python && $(cat "$dir/.stamp" 2>/dev/null) == "$stamp" ]] && "$dir/bin/python" -c ''; then
    already "python: $name"
    return
  fi
  if ! find_python >/dev/null; then
    have apt-get || die "no Python 3.10 or newer with its venv module: install one"
    step "apt python3-venv" install_package python3-venv
  fi
  step "python: $name" make_python_env "$dir" "$list" "$@"
  printf '%s\n' "$stamp" >"$dir/.stamp"
}

make_python_env() {
  local dir=$1 list=$2
  shift 2
  rm -rf "$dir"
  "$(find_python)" -m venv "$dir"
  # Wheels only: nothing of these is compiled here.
  "$dir/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --only-binary=:all: "$@" -r "$list"
}

# --- Rust ------------------------------------------------------------------------------------------------------

need_cargo() {
  have cargo || die "cargo is missing: install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml") or newer first"
}

# cargo_program CRATE VERSION: $CACHE/cargo/bin/CRATE, built for a quick build rather than a quick program.
cargo_program() {
  local crate=$1 version=$2
  if [[ $(cat "$CACHE/cargo/.$crate" 2>/dev/null) == "$version" && -x $CACHE/cargo/bin/$crate ]]; then
    already "cargo: $crate $version"
    return
  fi
  need_cargo
  step "cargo: $crate $version" build_cargo_program "$crate" "$version"
  printf '%s\n' "$version" >"$CACHE/cargo/.$crate"
}

build_cargo_program() {
  local scratch=$CACHE/build/$1
  # Outside the checkout, so that neither our lints nor our profiles reach it.
  (
    cd /
    env -u RUSTFLAGS \
      CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
      CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_TARGET_DIR="$scratch" \
      cargo install "$1" --version "=$2" --locked --force --root "$CACHE/cargo"
  )
  rm -rf "$scratch"
}

# --- What tests and demos use ------------------------------------------------------------------------------------

AICHAT_VERSION=0.30.0

ensure_tools() { python_env tools tools; }
ensure_clients() { python_env clients venv; }
ensure_collector() { python_env collector collector; }
# Without their dependencies: the model's package would build a whole llama.cpp that the server brings along.
ensure_model() { python_env model model --no-deps; }
ensure_aichat() { cargo_program aichat "$AICHAT_VERSION"; }
ensure_system() {
  system_package curl curl
  system_package openssl openssl
  system_package ngircd /usr/sbin/ngircd
}

# The program alone, out of the package of the server, which is never installed nor started.
ensure_promtool() {
  local dir=$CACHE/promtool
  if [[ -x $dir/promtool ]] && "$dir/promtool" --version >/dev/null 2>&1; then
    already promtool
    return
  fi
  if ! have apt-get || ! have dpkg-deb; then
    die "promtool is missing, and there is no apt-get here: put it, or a link to it, at $dir/promtool"
  fi
  step "promtool" take_promtool "$dir"
}

take_promtool() {
  local dir=$1 scratch=$CACHE/build/promtool
  rm -rf "$scratch"
  mkdir -p "$scratch" "$dir"
  cd "$scratch"
  if ! apt-get download -q prometheus; then
    as_root apt-get update -q
    apt-get download -q prometheus
  fi
  dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
  mv usr/bin/promtool "$dir/promtool"
  cd "$CACHE"
  rm -rf "$scratch"
}

find_ngircd() { PATH="$PATH:/usr/sbin" command -v ngircd; }
