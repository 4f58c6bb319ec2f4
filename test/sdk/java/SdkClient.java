// begin: import
import io.github.centrifugal.centrifuge.*;
// end
import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A client made with centrifuge-java, which speaks Protobuf alone.
 *
 * <p>Arguments: URL protobuf TOKEN, which may be empty. Commands come in on standard input and events go out on
 * standard output, a line of JSON each.
 */
public final class SdkClient {
    private static final Gson GSON = new GsonBuilder().disableHtmlEscaping().create();
    private static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.UTF_8);

    /** A line of standard input. */
    private static final class Command {
        String channel, data;
        @com.google.gson.annotations.SerializedName("do") String what;
        int id, limit;
        Since since;
        boolean reverse;
    }

    private static final class Since {
        long offset;
        String epoch;
    }

    private static synchronized void say(Map<String, Object> event) {
        OUT.println(GSON.toJson(event));
        OUT.flush();
    }

    /** Names and values in turn. */
    private static Map<String, Object> event(Object... fields) {
        Map<String, Object> event = new LinkedHashMap<>();
        for (int i = 0; i < fields.length; i += 2) {
            event.put((String) fields[i], fields[i + 1]);
        }
        return event;
    }

    private static Map<String, Object> publication(long offset, byte[] data, Map<String, String> tags) {
        Map<String, Object> event = event("offset", offset, "tags", tags);
        try {
            event.put("data", StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(data)).toString());
        } catch (CharacterCodingException e) {
            event.put("base64", Base64.getEncoder().encodeToString(data));
        }
        return event;
    }

    private static final class Connection extends EventListener {
        @Override
        public void onConnected(Client client, ConnectedEvent e) {
            say(event("event", "connected", "client", e.getClient()));
        }

        @Override
        public void onConnecting(Client client, ConnectingEvent e) {
            say(event("event", "connecting", "code", e.getCode(), "reason", e.getReason()));
        }

        @Override
        public void onDisconnected(Client client, DisconnectedEvent e) {
            say(event("event", "disconnected", "code", e.getCode(), "reason", e.getReason()));
        }

        @Override
        public void onError(Client client, ErrorEvent e) {
            say(event("event", "error", "message", String.valueOf(e.getError())));
        }

        // What the token's channels bring.

        @Override
        public void onPublication(Client client, ServerPublicationEvent e) {
            Map<String, Object> event = event("event", "publication", "channel", e.getChannel());
            event.putAll(publication(e.getOffset(), e.getData(), e.getTags()));
            say(event);
        }

        @Override
        public void onSubscribed(Client client, ServerSubscribedEvent e) {
            say(event("event", "subscribed", "channel", e.getChannel(), "recoverable", e.getRecoverable(),
                "was_recovering", e.wasRecovering(), "recovered", e.getRecovered()));
        }
    }

    // begin: listener
    private static final class Events extends SubscriptionEventListener {
        @Override
        public void onPublication(Subscription sub, PublicationEvent e) {
            Map<String, Object> event = event("event", "publication", "channel", sub.getChannel());
            event.putAll(publication(e.getOffset(), e.getData(), e.getTags()));
            say(event);
        }

        @Override
        public void onSubscribed(Subscription sub, SubscribedEvent e) {
            // e.wasRecovering() && !e.getRecovered(): something is missing, and
            // last values follow
            say(event("event", "subscribed", "channel", sub.getChannel(), "recoverable", e.getRecoverable(),
                "was_recovering", e.wasRecovering(), "recovered", e.getRecovered()));
        }

        @Override
        public void onUnsubscribed(Subscription sub, UnsubscribedEvent e) {
            say(event("event", "unsubscribed", "channel", sub.getChannel(), "code", e.getCode(), "reason", e.getReason()));
        }
        // end

        @Override
        public void onError(Subscription sub, SubscriptionErrorEvent e) {
            Throwable cause = e.getError().getCause() == null ? e.getError() : e.getError().getCause();
            int code = cause instanceof ReplyError ? ((ReplyError) cause).getCode() : 0;
            say(event("event", "error", "message", sub.getChannel() + ": " + cause, "code", code));
        }
    }

    private static void failed(int id, Throwable e) {
        if (e instanceof ReplyError) {
            say(event("event", "failed", "id", id, "code", ((ReplyError) e).getCode(), "message", ((ReplyError) e).getMessage()));
        } else {
            say(event("event", "failed", "id", id, "message", String.valueOf(e)));
        }
    }

    private static void history(Client client, Command c) {
        HistoryOptions.Builder options = new HistoryOptions.Builder().withLimit(c.limit).withReverse(c.reverse);
        if (c.since != null) {
            options.withSince(new StreamPosition(c.since.offset, c.since.epoch));
        }
        // begin: history
        client.history(c.channel, options.build(), (error, result) -> {
            if (error != null) {
                failed(c.id, error);
                return;
            }
            List<Object> publications = new ArrayList<>();
            for (Publication p : result.getPublications()) {
                publications.add(publication(p.getOffset(), p.getData(), Map.of()));
            }
            say(event("event", "done", "id", c.id, "offset", result.getOffset(), "epoch", result.getEpoch(), "publications", publications));
        });
        // end
    }

    private static void publish(Client client, Command c) {
        // begin: publish
        byte[] data = c.data.getBytes(StandardCharsets.UTF_8);
        client.publish(c.channel, data, (error, result) -> { // called once the message is durable
            if (error != null) {
                failed(c.id, error);
            } else {
                say(event("event", "done", "id", c.id));
            }
        });
        // end
    }

    public static void main(String[] args) throws Exception {
        // begin: connect
        Options options = new Options();
        options.setToken(args[2]);
        options.setMaxReconnectDelay(2000);
        Client client = new Client(args[0], options, new Connection());
        client.connect();
        // end
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            Command c = GSON.fromJson(line, Command.class);
            switch (c.what) {
                case "subscribe":
                    // begin: subscribe
                    Subscription sub = client.newSubscription(c.channel, new Events()); // such as "vehicles/tram 7" or "vehicles/*@3"
                    sub.subscribe();
                    // end
                    break;
                case "unsubscribe":
                    client.getSubscription(c.channel).unsubscribe();
                    break;
                case "publish":
                    publish(client, c);
                    break;
                case "history":
                    history(client, c);
                    break;
                default:
                    throw new IllegalArgumentException(line);
            }
        }
        client.close(5000);
        System.exit(0);
    }
}
