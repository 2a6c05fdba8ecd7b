#!/bin/sh
# Install the Debian/Ubuntu packages that a headless display needs, where that is allowed: scripts/gui_packages.sh LIST
#
# Never fails: without the packages the GUI tests skip and say which ones they miss.
set -u

list=$1
command -v dpkg-query >/dev/null 2>&1 || exit 0 # another system: Qt and the display are the user's matter

missing=
for package in $(sed 's/#.*//' "$list"); do
    state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null)
    case $state in ii*) ;; *) missing="$missing $package" ;; esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    root=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    root="sudo -n"
else
    printf 'GUI tests will skip: run "sudo apt-get install --no-install-recommends%s" to have them run.\n' "$missing" >&2
    exit 0
fi
printf 'installing for the headless display:%s\n' "$missing" >&2
$root apt-get update -qq || true # an old list may still do
# shellcheck disable=SC2086  # the list is meant to be split
$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
    printf 'GUI tests may skip: apt-get could not install%s.\n' "$missing" >&2
exit 0
