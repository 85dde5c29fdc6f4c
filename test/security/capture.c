/*
 * Writes every frame that any interface of its network namespace receives to a file, as [length u32][frame]: what somebody
 * with a cable in the switch records. capture FILE; prints "ready"; ends with SIGTERM, all written.
 */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static volatile sig_atomic_t is_over = 0;
static void end(int signal_number) { (void)signal_number; is_over = 1; }

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  FILE *out = fopen(argv[1], "wb");
  /* Bound to no interface: all of them. */
  int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
  if (!out || fd < 0) { perror("capture"); return 1; }
  int bytes = 64 << 20; /* nothing may be missed */
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
  struct sigaction action = {.sa_handler = end}; /* without SA_RESTART: recvfrom ends too */
  sigaction(SIGTERM, &action, NULL);
  puts("ready");
  fflush(stdout);
  static unsigned char frame[1 << 17];
  while (!is_over) {
    struct sockaddr_ll from;
    socklen_t length = sizeof from;
    ssize_t got = recvfrom(fd, frame, sizeof frame, 0, (struct sockaddr *)&from, &length);
    if (got <= 0 || from.sll_pkttype == PACKET_OUTGOING) continue; /* a switch sends what it has received */
    uint32_t size = (uint32_t)got;
    fwrite(&size, sizeof size, 1, out);
    fwrite(frame, 1, size, out);
  }
  struct tpacket_stats stats;
  socklen_t length = sizeof stats;
  getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &length);
  printf("dropped %u\n", stats.tp_drops);
  return fclose(out) == 0 ? 0 : 1;
}
