// The console page: joins the form, the answers and the stream of messages.
import { $, timeOf } from "./dom.js";
import { watchForm } from "./answers.js";
import { watchEndpoints } from "./endpoints.js";
import { addGap, addMessages, own, watchButtons } from "./messages.js";

const again = 5000; // ms until a stream that the server refused is tried again

function showHub(state, ...text) {
  const hub = $("hub");
  hub.dataset.state = state;
  hub.replaceChildren(...text);
}

function showState({ state, since, error }) {
  const outage = $("outage");
  const at = timeOf(new Date(since));
  outage.hidden = state !== "down";
  if (state === "down") {
    showHub("down", "hub unreachable");
    outage.replaceChildren("Hub unreachable since ", at, error ? `: ${error}` : "");
  } else if (state === "up") {
    showHub("up", "hub connected");
  } else {
    showHub("unknown", "hub: waiting");
  }
}

function showLost() {
  showHub("down", "connection to the console lost, trying again");
}

function watchMessages() {
  const stream = new EventSource("api/messages");
  const on = (name, handle) => stream.addEventListener(name, (event) => handle(JSON.parse(event.data)));
  on("hub", showState);
  on("messages", addMessages);
  on("skipped", ({ count }) => addGap(count));
  stream.addEventListener("error", () => {
    showLost();
    if (stream.readyState === EventSource.CLOSED) setTimeout(watchMessages, again);
  });
}

watchButtons();
watchForm(own);
watchEndpoints();
watchMessages();
