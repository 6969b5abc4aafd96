#!/bin/sh
# build.sh ROOT: makes the root file system that all machines start from, a plain cloud image of this computer's distribution.
# image.ts runs it in namespaces of its own, so that what it mounts and starts goes with it. Changing it makes another image.
set -eu
root=$1
. /etc/os-release
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

# From where, and with which settings, this computer has its own packages; the lists say which sources are the distribution's.
apt-get -q update
case $ID in
    debian) origin=Debian ;;
    ubuntu) origin=Ubuntu ;;
    *) echo "images are made of Debian or Ubuntu; this computer has $ID" >&2; exit 1 ;;
esac
# shellcheck disable=SC2016 # apt fills these in
sources=$(apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' "Origin: $origin")
mirror=$(echo "$sources" | awk -v release="$VERSION_CODENAME" '$3 == release { print $2; exit }')
components=$(echo "$sources" | awk -v release="$VERSION_CODENAME" '$3 == release { print $4 }' | sort -u | paste -sd,)
debootstrap --variant=minbase --components="$components" --include=ca-certificates "$VERSION_CODENAME" "$root" "$mirror"

# For the time of the building.
echo "$sources" >"$root/etc/apt/sources.list"
apt-config dump Acquire >"$root/etc/apt/apt.conf.d/00computer"
if [ -e /etc/apt/auth.conf ]; then cp -p /etc/apt/auth.conf "$root/etc/apt/"; fi
cp -rp /etc/apt/auth.conf.d "$root/etc/apt/"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"

# cloud-init cannot be configured before the rest is (by debootstrap's --include, that is).
chroot "$root" apt-get -q update
chroot "$root" apt-get -q install -y --no-install-recommends \
    systemd-sysv dbus cloud-init iproute2 iputils-ping iputils-arping curl netbase procps jq haproxy keepalived nftables

umount -R "$root/dev" "$root/proc"
chroot "$root" apt-get clean
# Machines are in a network of their own, and what they need is there or comes from their user data.
rm -r "$root"/var/lib/apt/lists/* "$root"/etc/apt/auth.conf* "$root/etc/apt/apt.conf.d/00computer" "$root/usr/sbin/policy-rc.d"
: >"$root/etc/apt/sources.list"
: >"$root/etc/resolv.conf"
echo '127.0.0.1 localhost' >"$root/etc/hosts"

# As in the images of clouds: each machine gets an id and a name of its own, and its journal outlives it.
: >"$root/etc/machine-id"
rm -f "$root/etc/hostname"
mkdir -p "$root/var/log/journal"

# The machine's seed is on its disk; its network was set up around it.
echo 'datasource_list: [ NoCloud ]' >"$root/etc/cloud/cloud.cfg.d/99-ds.cfg"
echo 'network: { config: disabled }' >"$root/etc/cloud/cloud.cfg.d/98-net.cfg"
echo 'policy: enabled' >"$root/etc/cloud/ds-identify.cfg"
# Fails without the package locales.
sed -i '/^ *- locale$/d' "$root/etc/cloud/cloud.cfg"

# Installed for those whose user data wants them.
systemctl --root="$root" disable haproxy.service keepalived.service nftables.service
# Nobody logs in, and nothing is to happen at odd hours.
systemctl --root="$root" mask console-getty.service getty@.service apt-daily.timer apt-daily-upgrade.timer \
    dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
