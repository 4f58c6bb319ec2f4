import java.nio.charset.StandardCharsets;
import java.util.UUID;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** A message as a line of JSON. */
final class Json {
    private Json() {}

    static String of(ConsumerRecord<byte[], byte[]> m) {
        UUID id = Marks.id(m.headers());
        return "{\"partition\":" + m.partition() + ",\"offset\":" + m.offset()
                + ",\"id\":" + (id == null ? "null" : "\"" + id + "\"")
                + ",\"key\":" + string(m.key()) + ",\"value\":" + string(m.value())
                + ",\"replay\":" + Marks.replay(m.headers()) + "}";
    }

    private static String string(byte[] bytes) {
        if (bytes == null) {
            return "null";
        }
        StringBuilder s = new StringBuilder("\"");
        for (char c : new String(bytes, StandardCharsets.UTF_8).toCharArray()) {
            if (c == '"' || c == '\\') {
                s.append('\\').append(c);
            } else if (c < 0x20) {
                s.append(String.format("\\u%04x", (int) c));
            } else {
                s.append(c);
            }
        }
        return s.append('"').toString();
    }
}
