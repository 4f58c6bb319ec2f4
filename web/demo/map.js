// The town and its vehicles on a canvas. Colours are the page's own, so that they
// follow the system from light to dark.
import { $ } from "./dom.js";

const few = 24; // vehicles that stand out by a ring and their name, too
const closeUp = 4.5; // how much nearer a vehicle that is followed is seen
const sizes = { tram: [17, 5.5], bus: [12, 5.5], van: [7.5, 5] }; // length and width in pixels
const names = ["--map-ground", "--map-water", "--map-park", "--map-street", "--map-avenue", "--map-name", "--map-label", "--sheet", "--tram", "--bus", "--van", "--accent"];

export class TownMap {
  #canvas = $("map");
  #pen = this.#canvas.getContext("2d");
  #town = { width: 5000, height: 3200, streets: [], lines: [], parks: [], places: [], river: { width: 0, points: [] } };
  #colour = {};
  #view = { x: 0, y: 0, scale: 1 }; // metres in the middle, pixels a metre
  #base = document.createElement("canvas"); // the town as it was last drawn whole
  #baseOf = "";

  constructor() {
    new ResizeObserver(() => this.#resize()).observe($("frame"));
    for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
      matchMedia(query).addEventListener("change", () => this.#recolour());
    }
    this.#recolour();
    this.#resize();
  }

  /** Shows a town. */
  show(town) {
    this.#town = town;
    this.#resize();
  }

  #recolour() {
    const style = getComputedStyle(document.documentElement);
    for (const name of names) this.#colour[name] = style.getPropertyValue(name).trim();
    this.#baseOf = "";
  }

  #resize() {
    const frame = $("frame");
    const width = frame.clientWidth;
    const height = Math.round((width * this.#town.height) / this.#town.width);
    this.#canvas.style.height = `${height}px`;
    this.#canvas.width = Math.round(width * devicePixelRatio);
    this.#canvas.height = Math.round(height * devicePixelRatio);
    this.#baseOf = "";
    this.#view = this.#whole();
  }

  get #width() {
    return this.#canvas.width / devicePixelRatio;
  }

  #whole() {
    return { x: this.#town.width / 2, y: this.#town.height / 2, scale: this.#width / this.#town.width };
  }

  /** How much larger vehicles are drawn than where all of the town is seen. */
  get #zoom() {
    return Math.sqrt(this.#view.scale / this.#whole().scale);
  }

  /** The place of the town below a point of the canvas, and how many metres a pixel is. */
  at(px, py) {
    const { x, y, scale } = this.#view;
    return { x: x + (px - this.#width / 2) / scale, y: y + (py - this.#canvas.height / devicePixelRatio / 2) / scale, metres: 1 / scale };
  }

  /** The point of the canvas above a place of the town. */
  over(x, y) {
    const v = this.#view;
    return [this.#width / 2 + (x - v.x) * v.scale, this.#canvas.height / devicePixelRatio / 2 + (y - v.y) * v.scale];
  }

  /**
   * Draws the fleet as it is at a moment: those in chosen stand out, and the view
   * keeps to the one that is followed, if any.
   */
  draw(fleet, now, dt, chosen, followed, still) {
    this.#look(followed, still ? 1 : 1 - Math.exp(-dt / 0.35));
    this.#ground();
    const someChosen = chosen.size > 0;
    for (const kind of ["van", "bus", "tram"]) {
      for (const v of fleet.vehicles.values()) {
        if ((v.kind in sizes ? v.kind : "van") === kind && !chosen.has(v.id)) this.#vehicle(v, kind, someChosen || fleet.silent(v, now) ? 0.28 : 1);
      }
    }
    for (const id of chosen) {
      const v = fleet.vehicles.get(id);
      if (v) this.#marked(v, chosen.size <= few);
    }
  }

  #look(followed, share) {
    const whole = this.#whole();
    const to = followed ? { x: followed.drawn.x, y: followed.drawn.y, scale: whole.scale * closeUp } : whole;
    const v = this.#view;
    for (const k of ["x", "y", "scale"]) {
      v[k] += (to[k] - v[k]) * share;
      if (!followed && Math.abs(to[k] - v[k]) < 1e-3 * Math.abs(to[k])) v[k] = to[k];
    }
  }

  /** Draws what does not move: once while the view rests, else anew. */
  #ground() {
    const { x, y, scale } = this.#view;
    const view = `${x} ${y} ${scale} ${this.#canvas.width} ${devicePixelRatio}`;
    if (view !== this.#baseOf) {
      this.#baseOf = view;
      this.#base.width = this.#canvas.width;
      this.#base.height = this.#canvas.height;
      this.#drawTown(this.#base.getContext("2d"));
    }
    this.#pen.setTransform(1, 0, 0, 1, 0, 0);
    this.#pen.drawImage(this.#base, 0, 0);
    this.#pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  }

  #drawTown(pen) {
    const town = this.#town, c = this.#colour, { x, y, scale } = this.#view;
    pen.fillStyle = c["--map-ground"];
    pen.fillRect(0, 0, this.#base.width, this.#base.height);
    const k = scale * devicePixelRatio;
    pen.setTransform(k, 0, 0, k, this.#base.width / 2 - x * k, this.#base.height / 2 - y * k);
    pen.lineCap = pen.lineJoin = "round";
    for (const park of town.parks) fill(pen, park, c["--map-park"]);
    line(pen, town.river.points, town.river.width, c["--map-water"]);
    const px = 1 / scale;
    const street = Math.max(13, 1.6 * px), avenue = Math.max(24, 3 * px);
    for (const s of town.streets) if (!s.avenue) line(pen, s.points, street, c["--map-street"]);
    for (const s of town.streets) if (s.avenue) line(pen, s.points, avenue, c["--map-avenue"]);
    pen.globalAlpha = 0.55;
    for (const l of town.lines) if (l.kind === "tram") line(pen, l.points, Math.max(5, 1.1 * px), c["--tram"]);
    pen.globalAlpha = 1;
    for (const l of town.lines) if (l.kind === "tram" || scale * 1000 > 500) this.#stops(pen, l, 2.2 * px, px);
    this.#placeNames(pen, px);
  }

  #stops(pen, l, radius, px) {
    for (const [x, y] of l.stops) {
      pen.beginPath();
      pen.arc(x, y, radius, 0, 7);
      pen.fillStyle = this.#colour["--sheet"];
      pen.fill();
      pen.lineWidth = px;
      pen.strokeStyle = this.#colour[`--${l.kind}`];
      pen.stroke();
    }
  }

  #placeNames(pen, px) {
    const small = this.#width < 560;
    if (this.#width < 420 && this.#zoom < 1.5) return; // there would be nothing else to see
    pen.font = `600 ${(small ? 9 : 12) * px}px ${getComputedStyle(document.body).fontFamily}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.lineWidth = 3.5 * px;
    pen.strokeStyle = this.#colour["--map-ground"];
    pen.fillStyle = this.#colour["--map-name"];
    for (const { name, x, y } of this.#town.places) {
      pen.strokeText(name, x, y);
      pen.fillText(name, x, y);
    }
  }

  /** Draws a vehicle: a bar that is rounded in front, seen from above. */
  #vehicle(v, kind, alpha, grown = 1) {
    const pen = this.#pen;
    const [x, y] = this.over(v.drawn.x, v.drawn.y);
    const size = grown * this.#zoom * Math.min(1, Math.max(0.62, this.#width / 900));
    const length = sizes[kind][0] * size, width = sizes[kind][1] * size;
    pen.save();
    pen.translate(x, y);
    pen.rotate((v.drawn.heading * Math.PI) / 180);
    pen.globalAlpha = alpha;
    pen.beginPath();
    pen.roundRect(-width / 2, -length / 2, width, length, [width / 2, width / 2, 1, 1]);
    pen.lineWidth = 1.6;
    pen.strokeStyle = this.#colour["--sheet"];
    pen.stroke();
    pen.fillStyle = this.#colour[`--${kind}`];
    pen.fill();
    pen.restore();
  }

  #marked(v, alone) {
    const pen = this.#pen;
    const [x, y] = this.over(v.drawn.x, v.drawn.y);
    const radius = 11 * this.#zoom;
    if (alone) {
      pen.beginPath();
      pen.arc(x, y, radius, 0, 7);
      pen.lineWidth = 2;
      pen.strokeStyle = this.#colour["--accent"];
      pen.stroke();
    }
    this.#vehicle(v, v.kind in sizes ? v.kind : "van", 1, 1.15);
    if (!alone) return;
    pen.font = `600 12px ${getComputedStyle(document.body).fontFamily}`;
    pen.textBaseline = "middle";
    const width = pen.measureText(v.id).width;
    const aside = radius + 4, left = x + aside + width + 4 > this.#width;
    pen.textAlign = left ? "right" : "left";
    pen.lineWidth = 4;
    pen.strokeStyle = this.#colour["--map-ground"];
    pen.strokeText(v.id, left ? x - aside : x + aside, y);
    pen.fillStyle = this.#colour["--map-label"];
    pen.fillText(v.id, left ? x - aside : x + aside, y);
  }
}

function trace(pen, points) {
  pen.beginPath();
  for (const [x, y] of points) pen.lineTo(x, y);
}

function line(pen, points, width, colour) {
  trace(pen, points);
  pen.lineWidth = width;
  pen.strokeStyle = colour;
  pen.stroke();
}

function fill(pen, points, colour) {
  trace(pen, points);
  pen.closePath();
  pen.fillStyle = colour;
  pen.fill();
}
