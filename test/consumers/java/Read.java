import java.io.PrintStream;
import java.io.Reader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Follows a topic until it is told to end (SIGTERM) and prints each message once, a line of JSON each.
 *
 * <p>Arguments: PROPERTIES TOPIC WINDOW print|positions|ids [DATABASE] [replays]; or dump DATABASE.
 */
public final class Read {
    private Read() {}

    public static void main(String[] args) throws Exception {
        System.setOut(new PrintStream(System.out, true, StandardCharsets.UTF_8));
        if (args[0].equals("dump")) {
            try (Connection db = DriverManager.getConnection("jdbc:sqlite:" + args[1])) {
                Table.print(db);
            }
            return;
        }
        Map<String, Object> given = new HashMap<>();
        try (Reader file = Files.newBufferedReader(Path.of(args[0]))) {
            Properties p = new Properties();
            p.load(file);
            p.stringPropertyNames().forEach(name -> given.put(name, p.getProperty(name)));
        }
        boolean replays = args[args.length - 1].equals("replays");
        // begin: main
        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(Once.settings(given), bytes, bytes)) {
            Once.Sink sink =
                    switch (args[3]) {
                        case "print" -> new Printer(consumer);
                        case "positions" -> new Positions(DriverManager.getConnection("jdbc:sqlite:" + args[4]));
                        case "ids" -> new Ids(DriverManager.getConnection("jdbc:sqlite:" + args[4]), consumer);
                        default -> throw new IllegalArgumentException(args[3]);
                    };
            Once once = new Once(consumer, sink, Long.parseLong(args[2]), replays);
            Thread main = Thread.currentThread();
            Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                once.stop();
                try {
                    main.join();
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
            }));
            once.run(args[1]);
        }
        // end
    }
}
