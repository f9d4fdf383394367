# Builds a file tree of its own inside fresh namespaces, then runs a command in it.
# Arguments: ROOT (an empty directory), DIRECTORY to run in, then triples KIND SOURCE TARGET, then --, then
# the command. Values are only ever used as quoted words. This shell stays process 1 of the namespace: it
# collects orphans, and when it ends the kernel ends everything else in it.
set -eu
# The command's PATH may name directories of the project's user: nothing from there runs with privileges.
commands_path=$PATH
PATH=/usr/sbin:/usr/bin:/sbin:/bin
root=$1
directory=$2
shift 2
mount -t tmpfs -o size=4m,mode=755,nosuid,nodev tmpfs "$root"
mkdir "$root/proc" "$root/dev" "$root/dev/shm"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o size=256m,mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
while [ "$1" != -- ]; do
  kind=$1
  source=$2
  target=$root$3
  shift 3
  mkdir -p "${target%/*}"
  if [ "$kind" = link ]; then
    ln -s "$source" "$target"
    continue
  fi
  if [ -d "$source" ]; then mkdir -p "$target"; elif [ ! -e "$target" ]; then : > "$target"; fi
  mount --bind -- "$source" "$target"
  case $kind in
    ro) mount -o remount,bind,ro,nosuid -- "$target" ;;
    rw) mount -o remount,bind,nosuid,nodev -- "$target" ;;
  esac
done
shift
cd "$root"
mkdir .old
pivot_root . .old
umount -l /.old
rmdir /.old
mount -o remount,bind,ro /
ip link set lo up 2> /dev/null || ifconfig lo up 2> /dev/null || :
# No namespaces inside; only ours can be told so, not the machine's.
if [ "${SYNDARIX_OWN_USER_NAMESPACE:-}" = 1 ]; then
  echo 0 > /proc/sys/user/max_user_namespaces
fi
mount -o remount,bind,ro /proc || :
cd "$directory"
unset SYNDARIX_OWN_USER_NAMESPACE PWD OLDPWD
PATH=$commands_path
set +e
"$@"
