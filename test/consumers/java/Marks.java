import java.nio.charset.StandardCharsets;
import java.util.UUID;
import java.util.regex.Pattern;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;

// begin: marks
/** What the headers of a record say. Anyone may have written them: what does not parse counts as absent. */
final class Marks {
    private static final Pattern UUID_FORM =
            Pattern.compile("[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}");
    private static final UUID NONE = new UUID(0, 0);

    private Marks() {}

    /** The dedupe id; null where the record has none. Of several headers the last counts. */
    static UUID id(Headers headers) {
        Header h = headers.lastHeader("postroad-id");
        if (h == null || h.value() == null) {
            return null;
        }
        String text = new String(h.value(), StandardCharsets.UTF_8);
        if (!UUID_FORM.matcher(text).matches()) {
            return null;
        }
        UUID id = UUID.fromString(text);
        return id.equals(NONE) ? null : id;
    }

    /** Whether the record was sent again by hand, to a hub that lost data. */
    static boolean replay(Headers headers) {
        return headers.lastHeader("postroad-replay") != null;
    }
}
// end
