// Native code with lost instructions in several threads, and meanwhile what the JVM uses signals for:
// null pointers that it finds by SIGSEGV, stacks that overflow, safepoints, garbage.
public class Lost {
    static native int turn(int value, int times);
    static native void undefined();

    static Object nothing;
    static volatile Object garbage;

    static int depth(int n) {
        return n + depth(n + 1);
    }

    static void check(boolean condition, String what) {
        if (!condition) {
            System.out.println("not so: " + what);
            System.exit(1);
        }
    }

    static void work(int seed) {
        for (int i = 0; i < 300; i++) {
            int value = seed * 31 + i;
            check(turn(value, 5) == Integer.rotateLeft(value, 15), "turned");
            if (i % 10 == 0) {
                try {
                    nothing.hashCode();
                    check(false, "a null pointer");
                } catch (NullPointerException expected) {
                }
            }
            if (i % 100 == 0) {
                try {
                    depth(0);
                    check(false, "an overflow");
                } catch (StackOverflowError expected) {
                }
                check(turn(1, 1) == 8, "after an overflow");
            }
            garbage = new byte[10000];
        }
    }

    public static void main(String[] arguments) throws Exception {
        System.load(arguments[0]);
        if (arguments.length > 1) {
            undefined();
        }
        Thread[] threads = new Thread[4];
        for (int i = 0; i < threads.length; i++) {
            int seed = i;
            threads[i] = new Thread(() -> work(seed));
            threads[i].start();
        }
        for (int i = 0; i < 5; i++) {
            System.gc();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        System.out.println("ok");
    }
}
