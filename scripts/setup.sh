# What ./run and ./test share: finding out what a machine lacks, and installing it where that is
# allowed. To be sourced; needs bash 3.2 or newer. Sets nothing up by itself.
# shellcheck shell=bash

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }

have() { command -v "$1" >/dev/null 2>&1; }

# The package manager: apt, dnf, pacman, brew, or nothing that is known here.
package_manager() {
  case $(uname -s) in
    Darwin) echo brew ;;
    Linux)
      if have apt-get; then echo apt
      elif have dnf; then echo dnf
      elif have pacman; then echo pacman
      else echo unknown
      fi ;;
    *) echo unknown ;;
  esac
}

# A desktop whose sound is PipeWire's must keep it: PulseAudio is not put beside it.
pipewire_desktop() { have pipewire-pulse || have pipewire; }

# can_build: the compiler, cmake, pkg-config and ALSA's headers are there.
can_build() {
  have cc && have c++ && have make && have cmake && have pkg-config || return 1
  [ "$(uname -s)" != Linux ] || pkg-config --exists alsa
}

# can_hear: a private sound server can be started, and ALSA programs can reach it.
can_hear() {
  have pulseaudio && have pactl && have pacat && have parec || return 1
  local library
  for library in /usr/lib/*/alsa-lib /usr/lib64/alsa-lib /usr/lib/alsa-lib; do
    [ -e "$library/libasound_module_pcm_pulse.so" ] && return 0
  done
  return 1
}

# can_interop: GStreamer's SRTP elements and tshark are there.
can_interop() {
  have gst-launch-1.0 && have gst-inspect-1.0 && have tshark || return 1
  local element
  for element in srtpdec srtpenc rtpL16pay rtpL16depay rawaudioparse udpsrc udpsink; do
    gst-inspect-1.0 --exists "$element" || return 1
  done
}

# packages FOR MANAGER: the names of what `build`, `test` or `interop` needs.
packages() {
  case $1-$2 in
    build-apt) echo build-essential cmake pkg-config libasound2-dev ;;
    build-dnf) echo gcc gcc-c++ make cmake pkgconf-pkg-config alsa-lib-devel ;;
    build-pacman) echo base-devel cmake pkgconf alsa-lib ;;
    build-brew) echo cmake pkgconf ;;
    test-apt)
      if pipewire_desktop && [ "${CI:-}" != true ]; then echo pulseaudio-utils libasound2-plugins tmux valgrind xvfb xdotool man-db
      else echo pulseaudio pulseaudio-utils libasound2-plugins tmux valgrind xvfb xdotool man-db
      fi ;;
    test-dnf) echo pulseaudio-utils alsa-plugins-pulseaudio tmux valgrind xorg-x11-server-Xvfb xdotool man-db ;;
    test-pacman) echo libpulse alsa-plugins tmux valgrind xorg-server-xvfb xdotool man-db ;;
    test-brew) echo tmux ;;
    interop-apt) echo gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad tshark ;;
    interop-dnf) echo gstreamer1 gstreamer1-plugins-base gstreamer1-plugins-good gstreamer1-plugins-bad-free wireshark-cli ;;
    interop-pacman) echo gstreamer gst-plugins-base gst-plugins-good gst-plugins-bad wireshark-cli ;;
    interop-brew) echo gstreamer wireshark ;;
  esac
}

# install_command MANAGER PACKAGES...: the one command that installs them, for people and for us.
install_command() {
  local manager=$1; shift
  case $manager in
    apt) echo "apt-get update && apt-get install -y --no-install-recommends $*" ;;
    dnf) echo "dnf install -y $*" ;;
    pacman) echo "pacman -S --needed --noconfirm $*" ;;
    brew) echo "brew install $*" ;;
  esac
}

# install FOR: installs what `build`, `test` or `interop` needs. Fails, saying what to type, where it may not.
install() {
  local manager list line
  manager=$(package_manager)
  list=$(packages "$1" "$manager")
  if [ -z "$list" ]; then
    warn "No package manager that is known here. Please install a C compiler, make, cmake, pkg-config and ALSA's headers."
    return 1
  fi
  # shellcheck disable=SC2086  # a list of words
  line=$(install_command "$manager" $list)
  case $manager in
    brew)
      if ! have brew; then
        warn "Please install Homebrew (https://brew.sh), then type:  $line"
        return 1
      fi
      say "Installing: $list"
      $line >&2 || { warn "That did not work. Please type:  $line"; return 1; } ;;
    *)
      if [ "$(id -u)" = 0 ]; then
        say "Installing: $list"
        quiet sh -c "export DEBIAN_FRONTEND=noninteractive; $line" || return 1
      elif have sudo && sudo -n true 2>/dev/null; then
        say "Installing, with sudo: $list"
        quiet sudo -n sh -c "export DEBIAN_FRONTEND=noninteractive; $line" || return 1
      else
        warn "Some packages are missing. Please type this, then start $0 again:"
        warn
        warn "  sudo sh -c '$line'"
        warn
        return 1
      fi ;;
  esac
}

# quiet COMMAND...: its output is shown only if it fails.
quiet() {
  local log
  log=$(mktemp "${TMPDIR:-/tmp}/parlor-install.XXXXXX") || return 1
  if "$@" >"$log" 2>&1 </dev/null; then
    rm -f "$log"
  else
    tail -n 30 "$log" >&2
    rm -f "$log"
    warn "The packages could not be installed; see above."
    return 1
  fi
}

# need_rust: a toolchain that is new enough.
need_rust() {
  have cargo || PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
  if ! have cargo; then
    warn "Rust is missing. Please install it with rustup (https://rustup.rs):"
    warn
    warn "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
    return 1
  fi
  local want got
  want=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
  got=$(rustc --version | sed 's/^rustc \([0-9]*\.[0-9]*\).*/\1/')
  if [ "${got%%.*}" -eq "${want%%.*}" ] && [ "${got#*.}" -lt "${want#*.}" ]; then
    warn "Rust $got is too old; Parlor needs $want. Please type:  rustup update stable"
    return 1
  fi
}

# need_build: everything that building takes.
need_build() {
  case $(uname -s) in
    Linux) ;;
    Darwin)
      if ! xcode-select -p >/dev/null 2>&1; then
        warn "Apple's compiler is missing. Please type:  xcode-select --install"
        return 1
      fi ;;
    MINGW* | MSYS* | CYGWIN* | Windows_NT)
      warn "On Windows: install Rust with rustup (https://rustup.rs), which brings Microsoft's build tools,"
      warn "then, in two terminals in this folder:"
      warn
      warn "  cargo run --release --locked --bin parlor-server"
      warn "  cargo run --release --locked --bin parlor -- --name YOU --server 127.0.0.1 --room general"
      return 1 ;;
    *) warn "$(uname -s) is not a system that Parlor is known to run on; trying." ;;
  esac
  need_rust || return 1
  can_build && return 0
  install build || return 1
  can_build && return 0
  warn "The packages are installed, and still a compiler, make, cmake, pkg-config or ALSA's headers cannot be found."
  return 1
}
