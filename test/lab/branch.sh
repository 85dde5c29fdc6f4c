#!/usr/bin/env bash
# A branch on one machine: N hosts on a LAN (bridge), a router with a shaped WAN link, an origin behind it.
#
#   origin 10.88.0.1 ==(TUN, one-way delay)== router ==(tbf + byte FIFO: the WAN bottleneck)== bridge == h1..hN 10.88.1.1..N
#
#   branch.sh up N [--down MBIT] [--up MBIT] [--fifo-ms MS] [--delay-us US] [--lan MBIT] [--cc cubic|bbr|reno]
#   branch.sh on HOST COMMAND...      HOST is origin, router, bridge, or a number 1..N
#   branch.sh down
#
# Needs root, ip, tc, cc. The hosts reach each other and the origin, and nothing else.
# LAB names the lab (namespaces LAB-origin, LAB-1, ...), so that several run side by side; STATE is its folder.
set -euo pipefail
LAB=${LAB:-shlab}
STATE=${STATE:-/tmp/shorthaul-lab-$LAB}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
die() { echo "branch.sh: $*" >&2; exit 2; }
ns() { ip netns exec "$LAB-$1" "${@:2}"; }

up() {
  local n=$1; shift
  local down_mbit=50 up_mbit=20 fifo_ms=100 delay_us=10000 lan_mbit=0 cc=cubic
  while (($#)); do case $1 in
    --down) down_mbit=$2;; --up) up_mbit=$2;; --fifo-ms) fifo_ms=$2;; --delay-us) delay_us=$2;; --lan) lan_mbit=$2;; --cc) cc=$2;;
    *) die "unknown option $1";; esac; shift 2; done
  mkdir "$STATE" || die "lab $LAB is up; branch.sh down first"
  echo "$n" >"$STATE/hosts"
  cc -O2 -o "$STATE/delay" "$here/delay.c"
  for h in origin router bridge $(seq 1 "$n"); do ip netns add "$LAB-$h"; ip -n "$LAB-$h" link set lo up; done

  # the WAN: two TUN devices that the delay process joins
  setsid "$STATE/delay" "$LAB-origin" wan0 "$LAB-router" wan1 "$delay_us" >"$STATE/delay.log" 2>&1 </dev/null &
  for _ in $(seq 100); do grep -q ready "$STATE/delay.log" && break; sleep 0.05; done
  grep -q ready "$STATE/delay.log" || die "the delay process did not start: $(cat "$STATE/delay.log")"
  ip -n "$LAB-origin" addr add 10.88.0.1/30 dev wan0; ip -n "$LAB-origin" link set wan0 up txqueuelen 2000
  ip -n "$LAB-router" addr add 10.88.0.2/30 dev wan1; ip -n "$LAB-router" link set wan1 up txqueuelen 2000

  # the LAN: a bridge, and a second one (br1) that hosts are moved to when the branch is partitioned
  ip -n "$LAB-bridge" link add br0 type bridge; ip -n "$LAB-bridge" link set br0 up
  ip -n "$LAB-bridge" link add br1 type bridge; ip -n "$LAB-bridge" link set br1 up
  for h in router $(seq 1 "$n"); do
    ip link add "p-$h" netns "$LAB-bridge" type veth peer name lan0 netns "$LAB-$h"
    ip -n "$LAB-bridge" link set "p-$h" master br0 up
    ip -n "$LAB-$h" link set lan0 up
  done

  # segments of one packet on the shaped path, else tbf shapes 64 KiB bursts
  ip -n "$LAB-router" link set lan0 gso_max_segs 1; ip -n "$LAB-bridge" link set p-router gso_max_segs 1
  ip -n "$LAB-router" addr add 10.88.1.254/24 dev lan0
  ns router sysctl -qw net.ipv4.ip_forward=1
  tc -n "$LAB-router" qdisc add dev lan0 root handle 1: tbf rate "${down_mbit}mbit" burst 6000 limit $((down_mbit * 125 * fifo_ms))
  tc -n "$LAB-router" qdisc add dev wan1 root handle 1: tbf rate "${up_mbit}mbit" burst 6000 limit $((up_mbit * 125 * fifo_ms))
  for h in $(seq 1 "$n"); do
    ip -n "$LAB-$h" addr add "10.88.1.$h/24" dev lan0
    ip -n "$LAB-$h" route add default via 10.88.1.254 congctl cubic
    ns "$h" sysctl -qw net.ipv4.tcp_no_metrics_save=1 net.ipv4.tcp_rmem="4096 131072 6291456"
    ((lan_mbit)) && lan_rate "$h" "$lan_mbit"
  done
  ip -n "$LAB-origin" route add default via 10.88.0.2 congctl "$cc"
  # little unsent data in the sockets, so that what the origin has written is what the WAN has been given
  ns origin sysctl -qw net.ipv4.tcp_no_metrics_save=1 net.ipv4.tcp_rmem="4096 131072 6291456" net.ipv4.tcp_notsent_lowat=262144
}

# Both directions of one host's LAN link; 0 is unshaped.
lan_rate() {
  local h=$1 mbit=$2
  for end in "$LAB-$h lan0" "$LAB-bridge p-$h"; do
    set -- $end
    tc -n "$1" qdisc del dev "$2" root 2>/dev/null || true
    ((mbit == 0)) || tc -n "$1" qdisc add dev "$2" root tbf rate "${mbit}mbit" burst 128k latency 50ms
  done
}

# The WAN's bottleneck, in both directions; its buffer keeps its depth in time.
wan_rate() {
  local down_mbit=$1 up_mbit=$2 fifo_ms=100
  tc -n "$LAB-router" qdisc change dev lan0 root handle 1: tbf rate "${down_mbit}mbit" burst 6000 limit $((down_mbit * 125 * fifo_ms))
  tc -n "$LAB-router" qdisc change dev wan1 root handle 1: tbf rate "${up_mbit}mbit" burst 6000 limit $((up_mbit * 125 * fifo_ms))
}

down() {
  local h pids
  for h in origin router bridge $(seq 1 "$(cat "$STATE/hosts" 2>/dev/null || echo 0)"); do
    pids=$(ip netns pids "$LAB-$h" 2>/dev/null || true)   # the delay process is in the router's namespace
    [[ -z $pids ]] || kill -9 $pids 2>/dev/null || true
  done
  for h in $(ip netns list | awk '{print $1}' | grep "^$LAB-" || true); do ip netns del "$h" 2>/dev/null || true; done
  # file systems of a size of their own, which tests mount there
  awk -v under="$STATE/" 'index($2, under) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount -l
  rm -rf "$STATE"
}

case ${1:-} in
  up) shift; (($#)) || die "up N"; up "$@";;
  on) h=$2; shift 2; exec ip netns exec "$LAB-$h" "$@";;
  lan-rate) lan_rate "$2" "$3";;
  wan-rate) wan_rate "$2" "$3";;
  down) down;;
  *) sed -n '2,12p' "$0" | sed 's/^# \{0,1\}//'; exit 2;;
esac
