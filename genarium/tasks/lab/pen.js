// The pen of the Lab: draws the visitor's own data on a plane, by mouse, finger or keyboard.

const MOST_POINTS = 800; // as experiment.py takes
const SPRAY = 7; // points of a dab
const SPREAD = 0.11; // deviation of a dab, in units of the plane

class Pen {
  constructor(lab) {
    this.lab = lab;
    this.last = null; // where the last dab was
    this.cross = [0, 0]; // where the keyboard's pen stands
  }

  get points() { return unpackPoints(this.lab.state.points); }

  // Return the place of an event on a side's plane.
  placeOf(event, side) {
    const box = side.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width * 2 - 1) * SIDE, (1 - (event.clientY - box.top) / box.height * 2) * SIDE];
  }

  down(event, side) {
    if (!this.lab.draws || event.button) return;
    event.preventDefault();
    side.canvas.setPointerCapture(event.pointerId);
    this.dab(this.last = this.placeOf(event, side));
  }

  move(event, side) {
    if (!this.last) return;
    const to = this.placeOf(event, side);
    if (Math.hypot(to[0] - this.last[0], to[1] - this.last[1]) > 0.13) this.dab(this.last = to);
  }

  up() { this.last = null; }

  // Draw by keyboard: the arrows move the pen, Enter and the space bar draw.
  key(event, side) {
    if (!this.lab.draws) return;
    const step = event.shiftKey ? 0.1 : 0.3;
    const way = {ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step]}[event.key];
    if (way) this.cross = this.cross.map((v, i) => Math.max(-SIDE, Math.min(SIDE, v + way[i])));
    else if (event.key === 'Enter' || event.key === ' ') this.dab(this.cross);
    else return;
    this.active = true;
    event.preventDefault();
    this.lab.dirty = true;
  }

  // Add a few points around a place.
  dab(place) {
    const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
    const more = Array.from({length: SPRAY}, () => place.map(v => v + SPREAD * normal()));
    this.keep([...this.points, ...more].slice(0, MOST_POINTS));
  }

  clear() { this.keep([]); }

  keep(points) {
    this.lab.change(() => {
      this.lab.state.points = packPoints(points);
      this.lab.state.data = 'drawn';
    });
  }

  // Show the keyboard's pen.
  paint(side) {
    if (!this.active || !this.lab.draws || document.activeElement !== side.canvas) return;
    const drawing = side.drawing, pen = drawing.context, [x, y] = [drawing.x(this.cross[0]), drawing.y(this.cross[1])];
    const size = 8 * drawing.ratio;
    pen.strokeStyle = drawing.colours.ink;
    pen.lineWidth = 1.5 * drawing.ratio;
    pen.beginPath();
    pen.moveTo(x - size, y); pen.lineTo(x + size, y);
    pen.moveTo(x, y - size); pen.lineTo(x, y + size);
    pen.stroke();
  }
}
