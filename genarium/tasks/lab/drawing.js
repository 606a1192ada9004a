// Drawing of the Lab: from the arrays of a frame to a canvas, which shows the square [-side, side] of the plane.

const SIDE = 4;
const NOTHING = 32767; // stands for NaN in a packed array

// ---- arrays ----

// Return {shape, values: Float32Array} of an array that frame.py's `pack` packed.
function unpack(packed) {
  if (!packed) return null;
  const text = atob(packed.data), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const whole = new Int16Array(bytes.buffer), values = new Float32Array(whole.length);
  for (let i = 0; i < whole.length; i++) values[i] = whole[i] === NOTHING ? NaN : whole[i] * packed.scale;
  return {shape: packed.shape, values: values};
}

// Return a frame with its arrays unpacked.
function unpackFrame(sent) {
  const layers = sent.layers.map(layer => ({...layer, values: unpack(layer.values), at: unpack(layer.at)}));
  return {...sent, samples: unpack(sent.samples), layers: layers};
}

// Points of the visitor's own data: 12 bits for x and for y, four characters each, as experiment.py packs them.
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const PLACES = 4096;

function packPoints(points) {
  return points.map(point => {
    const [x, y] = point.map(v => Math.min(PLACES - 1, Math.max(0, Math.round((v + SIDE) / (2 * SIDE) * PLACES))));
    return LETTERS[x >> 6] + LETTERS[x & 63] + LETTERS[y >> 6] + LETTERS[y & 63];
  }).join('');
}

function unpackPoints(text) {
  const place = i => (LETTERS.indexOf(text[i]) * 64 + LETTERS.indexOf(text[i + 1])) / PLACES * 2 * SIDE - SIDE;
  return Array.from({length: Math.floor(text.length / 4)}, (_, i) => [place(4 * i), place(4 * i + 2)]);
}

// Return the array between two of the same shape; null where there are no such two.
function between(from, to, part) {
  if (!from || !to || from.values.length !== to.values.length) return null;
  const values = new Float32Array(to.values.length);
  for (let i = 0; i < values.length; i++) values[i] = from.values[i] + part * (to.values[i] - from.values[i]);
  return {shape: to.shape, values: values};
}

// Return the frame between two frames: points, arrows and curves move in straight lines, all else is that of the nearer frame.
function frameBetween(from, to, part) {
  if (!from || part >= 0.999 || from === to) return to;
  if (part <= 0.001) return from;
  const nearer = part < 0.5 ? from : to;
  const layers = nearer.layers.map((layer, i) => {
    const [old, next] = [from.layers[i], to.layers[i]];
    const moves = old && next && old.name === next.name && ['points', 'arrows', 'curve'].includes(layer.kind);
    return moves ? {...layer, values: between(old.values, next.values, part) || layer.values, at: between(old.at, next.at, part)} : layer;
  });
  return {...nearer, samples: between(from.samples, to.samples, part) || nearer.samples, layers: layers};
}

// ---- colours ----

// The colours of the roles, as the style sheet has them, for the scheme that is shown now.
function coloursOf(element) {
  const style = getComputedStyle(element), read = name => style.getPropertyValue(`--lab-${name}`).trim();
  return {
    data: read('data'), model: read('model'), truth: read('truth'), error: read('error'), grid: read('grid'),
    low: read('low'), high: read('high'), ground: read('ground'), ink: read('ink'), second: read('second'),
  };
}

function rgb(colour) {
  const whole = parseInt(colour.slice(1), 16);
  return [whole >> 16 & 255, whole >> 8 & 255, whole & 255];
}

// ---- the plane ----

// A canvas that shows frames.
class PlaneDrawing {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext('2d');
    this.side = SIDE;
    this.fields = new WeakMap(); // of a layer: its heat map, which is costly to make
  }

  // Fit the canvas to its place on the page.
  fit() {
    const width = this.canvas.clientWidth, ratio = Math.min(2, window.devicePixelRatio || 1);
    const wanted = Math.round(width * ratio);
    if (wanted && this.canvas.width !== wanted) this.canvas.width = this.canvas.height = wanted;
    this.ratio = ratio;
    this.size = this.canvas.width;
  }

  x(value) { return (value + this.side) / (2 * this.side) * this.size; }
  y(value) { return (this.side - value) / (2 * this.side) * this.size; }

  // Draw data and a frame. `hidden` holds the names of layers that the visitor has switched off.
  draw(data, frame, hidden) {
    this.fit();
    if (!this.size) return;
    this.side = frame && frame.side || SIDE;
    const pen = this.context;
    this.colours = coloursOf(this.canvas);
    pen.clearRect(0, 0, this.size, this.size);
    const layers = frame ? frame.layers.filter(layer => !hidden.has(layer.name)) : [];
    layers.filter(layer => layer.kind === 'field' && !layer.contours.length).forEach(layer => this.heat(layer));
    this.axes();
    if (data && !hidden.has('data')) this.dots(data.values, this.colours.data, 1.5, 0.55);
    const samples = frame && frame.samples.values.length && !hidden.has('samples') && !hidden.has('estimates');
    const busy = layers.some(layer => ['paths', 'arrows', 'points'].includes(layer.kind) && layer.role !== 'data');
    if (samples) this.dots(frame.samples.values, this.colours.model, 1.9, busy ? 0.35 : 0.8);
    for (const layer of layers) {
      const colour = this.colours[layer.role];
      if (layer.kind === 'field' && layer.contours.length) this.contours(layer, colour);
      if (layer.kind === 'points') this.dots(layer.values.values, colour, 2.6, 0.9);
      if (layer.kind === 'paths') this.paths(layer, colour);
      if (layer.kind === 'arrows') this.arrows(layer, colour);
      if (layer.kind === 'curve') this.line(layer.values.values, 0, layer.values.shape[0], colour, 2.6, 0.95);
    }
  }

  axes() {
    const pen = this.context, middle = this.size / 2;
    pen.strokeStyle = this.colours.grid;
    pen.lineWidth = this.ratio;
    pen.beginPath();
    pen.moveTo(middle, 0); pen.lineTo(middle, this.size);
    pen.moveTo(0, middle); pen.lineTo(this.size, middle);
    pen.stroke();
  }

  dots(values, colour, radius, alpha) {
    const pen = this.context, r = radius * this.ratio * Math.max(0.75, this.size / this.ratio / 480);
    pen.fillStyle = colour;
    pen.globalAlpha = alpha;
    pen.beginPath();
    for (let i = 0; i < values.length; i += 2) {
      if (!(Math.abs(values[i]) < 2 * this.side && Math.abs(values[i + 1]) < 2 * this.side)) continue; // NaN too
      const x = this.x(values[i]), y = this.y(values[i + 1]);
      pen.moveTo(x + r, y);
      pen.arc(x, y, r, 0, 7);
    }
    pen.fill();
    pen.globalAlpha = 1;
  }

  // Draw a line through the points start ... stop - 1, broken where one is NaN.
  trace(values, start, stop) {
    const pen = this.context;
    let drawing = false;
    for (let i = start; i < stop; i++) {
      const x = values[2 * i], y = values[2 * i + 1];
      if (!Number.isFinite(x + y)) { drawing = false; continue; }
      if (drawing) pen.lineTo(this.x(x), this.y(y)); else pen.moveTo(this.x(x), this.y(y));
      drawing = true;
    }
  }

  line(values, start, stop, colour, width, alpha) {
    const pen = this.context;
    pen.strokeStyle = colour;
    pen.globalAlpha = alpha;
    pen.lineWidth = width * this.ratio;
    pen.lineJoin = pen.lineCap = 'round';
    pen.beginPath();
    this.trace(values, start, stop);
    pen.stroke();
    pen.globalAlpha = 1;
  }

  paths(layer, colour) {
    const [number, length] = layer.values.shape, values = layer.values.values, pen = this.context;
    pen.strokeStyle = colour;
    pen.globalAlpha = number > 150 ? 0.22 : 0.5;
    pen.lineWidth = 1.2 * this.ratio;
    pen.lineJoin = 'round';
    pen.beginPath();
    for (let n = 0; n < number; n++) this.trace(values, n * length, (n + 1) * length);
    pen.stroke();
    pen.globalAlpha = 1;
    const ends = new Float32Array(2 * number); // the last place that a path has reached so far
    for (let n = 0; n < number; n++) {
      let last = (n + 1) * length - 1;
      while (last > n * length && !Number.isFinite(values[2 * last])) last--;
      ends[2 * n] = values[2 * last];
      ends[2 * n + 1] = values[2 * last + 1];
    }
    this.dots(ends, colour, 2.4, 0.95);
  }

  // Draw arrows in units of the plane.
  arrows(layer, colour) {
    const pen = this.context, values = layer.values.values, feet = layer.at.values, behind = layer.role === 'truth';
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = (behind ? 2.6 : 1.4) * this.ratio;
    pen.globalAlpha = behind ? 0.5 : 0.95;
    pen.lineCap = 'round';
    pen.beginPath();
    for (let i = 0; i < values.length; i += 2) {
      const length = Math.hypot(values[i], values[i + 1]);
      if (!(length > 0) || !Number.isFinite(feet[i] + feet[i + 1])) continue;
      const dx = values[i] / length, dy = values[i + 1] / length;
      const x0 = this.x(feet[i]), y0 = this.y(feet[i + 1]);
      const x1 = this.x(feet[i] + values[i]), y1 = this.y(feet[i + 1] + values[i + 1]);
      const head = Math.min(5 * this.ratio, 0.45 * Math.hypot(x1 - x0, y1 - y0));
      pen.moveTo(x0, y0);
      pen.lineTo(x1, y1);
      pen.moveTo(x1 - head * (0.87 * dx + 0.5 * dy), y1 + head * (0.87 * dy - 0.5 * dx));
      pen.lineTo(x1, y1);
      pen.lineTo(x1 - head * (0.87 * dx - 0.5 * dy), y1 + head * (0.87 * dy + 0.5 * dx));
    }
    pen.stroke();
    pen.globalAlpha = 1;
  }

  // Draw a field as a heat map: from the ground to the role's colour, or from one colour through the ground to another.
  heat(layer) {
    if (!this.fields.has(layer)) this.fields.set(layer, {});
    const kept = this.fields.get(layer), pen = this.context;
    const scheme = `${this.colours.ground}${this.colours[layer.role]}`;
    if (kept.scheme !== scheme) Object.assign(kept, {scheme: scheme, picture: this.heatPicture(layer)});
    pen.imageSmoothingEnabled = true;
    pen.imageSmoothingQuality = 'high';
    pen.drawImage(kept.picture, 0, 0, this.size, this.size);
  }

  heatPicture(layer) {
    const [height, width] = layer.values.shape, values = layer.values.values;
    const picture = document.createElement('canvas');
    picture.width = width;
    picture.height = height;
    const image = new ImageData(width, height), finite = [...values].filter(Number.isFinite);
    let least = Infinity, most = -Infinity;
    for (const v of finite) { least = Math.min(least, v); most = Math.max(most, v); }
    if (layer.signed) { most = Math.max(Math.abs(least), Math.abs(most)); least = -most; }
    const high = rgb(layer.signed ? this.colours.high : this.colours[layer.role]), low = rgb(this.colours.low);
    for (let i = 0; i < height; i++) {
      for (let j = 0; j < width; j++) {
        const part = (values[(height - 1 - i) * width + j] - least) / (most - least || 1); // row 0 lies at the bottom
        const strength = layer.signed ? 2 * Math.abs(part - 0.5) : part;
        const colour = layer.signed && part < 0.5 ? low : high, at = 4 * (i * width + j);
        image.data.set([...colour, Number.isFinite(strength) ? 205 * Math.min(1, strength) : 0], at);
      }
    }
    picture.getContext('2d').putImageData(image, 0, 0);
    return picture;
  }

  // Draw contour lines by marching squares.
  contours(layer, colour) {
    const [height, width] = layer.values.shape, values = layer.values.values, pen = this.context;
    const x = j => this.x(-this.side + 2 * this.side * j / (width - 1)), y = i => this.y(-this.side + 2 * this.side * i / (height - 1));
    pen.strokeStyle = colour;
    pen.lineCap = 'round';
    layer.contours.forEach((level, rank) => {
      pen.globalAlpha = 0.45 + 0.5 * (rank + 1) / layer.contours.length;
      pen.lineWidth = (layer.role === 'truth' ? 1 : 1.6) * this.ratio;
      pen.setLineDash(layer.role === 'truth' ? [4 * this.ratio, 3 * this.ratio] : []);
      pen.beginPath();
      for (let i = 0; i + 1 < height; i++) {
        for (let j = 0; j + 1 < width; j++) {
          const a = values[i * width + j], b = values[i * width + j + 1];
          const c = values[(i + 1) * width + j + 1], d = values[(i + 1) * width + j];
          const cut = (p, q) => (level - p) / (q - p), places = [];
          if (a < level !== b < level) places.push([x(j + cut(a, b)), y(i)]);
          if (b < level !== c < level) places.push([x(j + 1), y(i + cut(b, c))]);
          if (d < level !== c < level) places.push([x(j + cut(d, c)), y(i + 1)]);
          if (a < level !== d < level) places.push([x(j), y(i + cut(a, d))]);
          for (let k = 0; k + 1 < places.length; k += 2) {
            pen.moveTo(...places[k]);
            pen.lineTo(...places[k + 1]);
          }
        }
      }
      pen.stroke();
    });
    pen.setLineDash([]);
    pen.globalAlpha = 1;
  }
}
