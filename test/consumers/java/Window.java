import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.UUID;

// begin: window
/**
 * Tells which records of one partition are duplicates: a record at offset o is
 * one if a record at one of the offsets [o - size, o) has the same id.
 */
final class Window {
    private final long size;

    /** Where each id stands last, in the order of offsets. */
    private final LinkedHashMap<UUID, Long> last = new LinkedHashMap<>();

    Window(long size) {
        this.size = size;
    }

    /** Notes a record, and says whether it is a duplicate. Offsets ascend. */
    boolean seen(UUID id, long offset) {
        Iterator<Long> oldest = last.values().iterator();
        while (oldest.hasNext() && oldest.next() < offset - size) {
            oldest.remove();
        }
        boolean duplicate = last.remove(id) != null; // also what is a duplicate itself makes others duplicates
        last.put(id, offset);
        return duplicate;
    }

    /** Says whether a record would be a duplicate, and notes nothing. */
    boolean holds(UUID id, long offset) {
        Long at = last.get(id);
        return at != null && at >= offset - size;
    }
}
// end
