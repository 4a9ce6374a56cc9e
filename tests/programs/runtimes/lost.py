# Native code with lost instructions in several threads, with a timer's signals and faulthandler's own
# handlers of SIGILL and SIGSEGV, and in a child.
import ctypes
import faulthandler
import os
import signal
import sys
import threading

lost = ctypes.CDLL(sys.argv[1])
turn = getattr(lost, sys.argv[2])
turn.restype = ctypes.c_uint32
faulthandler.enable()
if len(sys.argv) > 3:
    lost.lost_undefined()

ticks = 0


def tick(signum, frame):
    global ticks
    ticks += 1
    check(7)


def check(value):
    turned = turn(ctypes.c_uint32(value), ctypes.c_uint32(5))
    wanted = (value << 15 | value >> 17) & 0xFFFFFFFF
    if turned != wanted:
        os.write(1, b"not so: turned\n")
        os._exit(1)


def work(seed):
    for i in range(300):
        check(seed * 1000003 + i)


signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
while ticks < 5:
    work(ticks)
signal.setitimer(signal.ITIMER_REAL, 0)
child = os.fork()
if child == 0:
    work(9)
    os._exit(0)
if os.waitpid(child, 0)[1] != 0:
    sys.exit("not so: the child ends well")
print("ok")
