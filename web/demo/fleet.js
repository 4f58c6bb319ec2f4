// What is known of each vehicle, and where it is drawn: it goes on from its last
// position as it was going, and what the next one corrects is made good smoothly.

const foresight = 3; // seconds that a vehicle is driven on without news
const silence = 15000; // ms without news after which it counts as silent
const settle = 0.25; // seconds in which most of an error is made good
const jump = 250; // metres beyond which nothing is made good: it is elsewhere

const finite = (...numbers) => numbers.every(Number.isFinite);
const short = (text) => typeof text === "string" && text.length > 0 && text.length <= 64;

/** The kind that a vehicle's id names. */
const kindOf = (id) => id.slice(0, id.lastIndexOf("-"));

export class Fleet {
  /** By id. */
  vehicles = new Map();

  /**
   * Takes a position. It returns the vehicle where the position is news, null
   * where a newer one is known, undefined where it is none.
   */
  take(p, now) {
    if (!p || !short(p.id) || !finite(p.x, p.y, p.heading, p.speed, p.at)) return undefined;
    let v = this.vehicles.get(p.id);
    if (v && p.at <= v.at) return null;
    if (!v) {
      v = { id: p.id, kind: kindOf(p.id), drawn: { x: p.x, y: p.y, heading: p.heading } };
      this.vehicles.set(p.id, v);
    }
    Object.assign(v, { line: short(p.line) ? p.line : "", x: p.x, y: p.y, heading: p.heading, speed: p.speed, at: p.at, seen: now });
    if (Math.hypot(v.drawn.x - p.x, v.drawn.y - p.y) > jump) Object.assign(v.drawn, { x: p.x, y: p.y, heading: p.heading });
    return v;
  }

  /** Moves what is drawn to a moment, dt seconds after the last; still where still says so. */
  move(now, dt, still) {
    const share = still ? 1 : 1 - Math.exp(-dt / settle);
    for (const v of this.vehicles.values()) {
      const ahead = still ? 0 : v.speed * Math.min((now - v.seen) / 1000, foresight);
      const angle = (v.heading * Math.PI) / 180;
      const d = v.drawn;
      d.x += (v.x + Math.sin(angle) * ahead - d.x) * share;
      d.y += (v.y - Math.cos(angle) * ahead - d.y) * share;
      d.heading += ((((v.heading - d.heading) % 360) + 540) % 360 - 180) * share;
    }
  }

  /** Whether nothing was heard of a vehicle for long. */
  silent(v, now) {
    return now - v.seen > silence;
  }

  /** How many are silent. */
  silentCount(now) {
    let n = 0;
    for (const v of this.vehicles.values()) n += this.silent(v, now) ? 1 : 0;
    return n;
  }

  /** The vehicles that a search names: by id, the beginning of one, or line. */
  matching(query) {
    const q = query.trim().toLowerCase();
    if (!q) return [];
    const exact = this.vehicles.get(q);
    if (exact) return [exact];
    return [...this.vehicles.values()].filter((v) => v.id.startsWith(q) || v.line.toLowerCase() === q);
  }

  /** The vehicle drawn nearest to a place, at most so many metres away. */
  nearest(x, y, most) {
    let best = null;
    for (const v of this.vehicles.values()) {
      const d = Math.hypot(v.drawn.x - x, v.drawn.y - y);
      if (d <= most) [best, most] = [v, d];
    }
    return best;
  }
}
