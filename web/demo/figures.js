// Rates and latencies over the last moments.

const seconds = 60; // that the small picture shows
const recent = 5; // seconds that the rate is taken over
const kept = 10000; // ms that latencies are kept

/** Counts by the second. */
export class Rate {
  #counts = new Array(seconds + 1).fill(0);
  #second = 0;

  count(now) {
    this.#turn(now);
    this.#counts[this.#second % this.#counts.length]++;
  }

  #turn(now) {
    const second = Math.floor(now / 1000);
    for (let s = Math.max(this.#second + 1, second - seconds); s <= second; s++) this.#counts[s % this.#counts.length] = 0;
    this.#second = Math.max(this.#second, second);
  }

  /** The counts of the last whole seconds, the oldest first. */
  history(now) {
    this.#turn(now);
    return Array.from({ length: seconds }, (_, i) => this.#counts[(this.#second - seconds + i + this.#counts.length) % this.#counts.length]);
  }

  /** Counts a second, over the last few. */
  perSecond(now) {
    return this.history(now).slice(-recent).reduce((a, b) => a + b, 0) / recent;
  }
}

/** Latencies of the last seconds. */
export class Latency {
  #samples = []; // [when, ms], by when

  add(now, ms) {
    this.#samples.push([now, ms]);
  }

  /** Quantiles in ms, or null where there is nothing to tell. */
  quantiles(now, ...shares) {
    const from = this.#samples.findIndex(([when]) => when > now - kept);
    this.#samples.splice(0, from < 0 ? this.#samples.length : from);
    const sorted = this.#samples.map(([, ms]) => ms).sort((a, b) => a - b);
    return shares.map((q) => (sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] : null));
  }
}
