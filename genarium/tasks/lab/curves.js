// Curves of the Lab: the loss and the Wasserstein distance over the steps of the training, one line for each side.

// Return at most five round numbers that divide a range.
function ticksOf(low, high) {
  const raw = (high - low) / 4, power = 10 ** Math.floor(Math.log10(raw || 1));
  const step = [1, 2, 5, 10].map(f => f * power).find(s => s >= raw) || power, ticks = [];
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9 * step; v += step) ticks.push(v);
  return ticks;
}

function shortNumber(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 100000)) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}

// A chart of lines on a canvas.
class Curves {
  // `log`: whether the values are drawn on a logarithmic axis.
  constructor(canvas, log) {
    this.canvas = canvas;
    this.context = canvas.getContext('2d');
    this.log = log;
  }

  // Draw lines [[x, y], ...] for each side, and a mark at the step that is shown.
  draw(lines, steps, at) {
    const canvas = this.canvas, pen = this.context, ratio = Math.min(2, window.devicePixelRatio || 1);
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const colours = coloursOf(canvas), left = 40, right = 8, top = 8, bottom = 18;
    const up = value => this.log ? Math.log10(Math.max(value, 1e-4)) : value;
    const seen = lines.flat().map(point => up(point[1])).filter(Number.isFinite);
    pen.font = `11px ${getComputedStyle(canvas).fontFamily}`;
    pen.fillStyle = colours.ink;
    pen.strokeStyle = colours.grid;
    pen.lineWidth = 1;
    let low = seen.length ? Infinity : 0, high = seen.length ? -Infinity : 1;
    for (const v of this.core(seen)) { low = Math.min(low, v); high = Math.max(high, v); }
    if (high - low < 1e-6) { low -= 0.5; high += 0.5; }
    const margin = 0.06 * (high - low);
    low -= margin;
    high += margin;
    const x = step => left + (width - left - right) * step / (steps || 1);
    const y = value => top + (height - top - bottom) * (1 - (value - low) / (high - low));
    const ticks = this.log ? this.logTicks(low, high) : ticksOf(low, high).map(v => [v, shortNumber(v)]);
    pen.textBaseline = 'middle';
    pen.textAlign = 'right';
    for (const [value, text] of ticks) {
      pen.beginPath();
      pen.moveTo(left, y(value));
      pen.lineTo(width - right, y(value));
      pen.stroke();
      pen.fillText(text, left - 6, y(value));
    }
    pen.textBaseline = 'alphabetic';
    for (const [part, align] of [[0, 'left'], [0.5, 'center'], [1, 'right']]) {
      pen.textAlign = align;
      if (steps) pen.fillText(String(Math.round(part * steps)), x(part * steps), height - 4);
    }
    pen.save();
    pen.beginPath();
    pen.rect(left, 0, width - left, height - bottom + 4);
    pen.clip();
    lines.forEach((line, side) => {
      pen.strokeStyle = pen.fillStyle = side ? colours.second : colours.model;
      pen.setLineDash(side ? [5, 3] : []);
      pen.lineWidth = 1.8;
      pen.lineJoin = 'round';
      pen.beginPath();
      line.forEach((point, i) => pen[i ? 'lineTo' : 'moveTo'](x(point[0]), y(up(point[1]))));
      pen.stroke();
      if (line.length < 60) for (const point of line) pen.fillRect(x(point[0]) - 2, y(up(point[1])) - 2, 4, 4);
    });
    pen.setLineDash([]);
    if (at !== null && steps) {
      pen.strokeStyle = colours.ink;
      pen.globalAlpha = 0.5;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(x(at), 0);
      pen.lineTo(x(at), height - bottom);
      pen.stroke();
      pen.globalAlpha = 1;
    }
    pen.restore();
  }

  // Return the values without the first few, which are often so large that nothing else could be seen.
  core(values) {
    if (values.length < 12 || this.log) return values;
    const sorted = [...values].sort((a, b) => a - b), cut = Math.floor(0.02 * sorted.length);
    return sorted.slice(cut, sorted.length - cut);
  }

  logTicks(low, high) {
    const ticks = [];
    for (let power = Math.floor(low); power <= Math.ceil(high); power++) {
      for (const first of high - low > 2 ? [1] : high - low > 0.8 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 6, 8]) {
        const value = Math.log10(first * 10 ** power);
        if (value >= low && value <= high) ticks.push([value, shortNumber(first * 10 ** power)]);
      }
    }
    return ticks;
  }
}
