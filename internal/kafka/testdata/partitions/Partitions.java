import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;

import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.utils.Utils;

/**
 * Prints what Kafka's own client makes of some keys: the key in hexadecimal, its
 * murmur2, and its partition of each number of partitions in the first line.
 */
public class Partitions {
    private static final int[] COUNTS = {1, 2, 3, 4, 7, 8, 16, 32, 100, 1000, 100000};

    public static void main(String[] args) {
        StringBuilder out = new StringBuilder("key\tmurmur2");
        for (int n : COUNTS) {
            out.append('\t').append(n);
        }
        out.append('\n');
        for (byte[] key : keys()) {
            out.append(HexFormat.of().formatHex(key)).append('\t').append(Utils.murmur2(key));
            for (int n : COUNTS) {
                out.append('\t').append(BuiltInPartitioner.partitionForKey(key, n));
            }
            out.append('\n');
        }
        System.out.print(out);
    }

    /** Keys of all lengths up to some, as text, as numbers, and of random bytes. */
    private static List<byte[]> keys() {
        List<byte[]> keys = new ArrayList<>();
        keys.add(new byte[0]);
        for (String s : new String[] {
            "a", "vehicle-17", "0190b3a4-5d6e-8f70-8123-456789abcdef", "Grüße", "日本語", "\ud83d\ude8b", "\u0000", "a/b%c", " ",
        }) {
            keys.add(s.getBytes(StandardCharsets.UTF_8));
        }
        for (int i = 0; i < 100; i++) {
            keys.add(("key-" + i).getBytes(StandardCharsets.UTF_8));
        }
        Random random = new Random(20);
        for (int length = 1; length <= 40; length++) {
            for (int i = 0; i < 8; i++) {
                byte[] key = new byte[length];
                random.nextBytes(key);
                keys.add(key);
            }
        }
        byte[] large = new byte[1000];
        java.util.Arrays.fill(large, (byte) 0xff);
        keys.add(large);
        return keys;
    }
}
