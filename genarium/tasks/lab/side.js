// One side of the Lab: a family, its plane, its view, and the frames that have come.

const MOST_FRAMES = 500; // of a training, that the browser keeps
const CHASE = 0.14; // seconds in which what is shown follows what has come
const PLAY_SECONDS = 5; // of a view's clock

class Side {
  constructor(lab, number, state) {
    this.lab = lab;
    this.number = number;
    this.state = state;
    this.hidden = new Set(); // layers that the visitor has switched off
    this.look = 0; // number of the newest wish for a view
    this.build();
    this.clear();
  }

  get family() { return this.lab.spec.families[this.state.family]; }
  get view() { return this.family.views.find(view => view.name === this.state.view) || this.family.views[0]; }

  // ---- building ----

  build() {
    const texts = this.lab.texts;
    this.canvas = h('canvas', {tabindex: 0, role: 'img', label: texts.plane});
    this.drawing = new PlaneDrawing(this.canvas);
    this.familyPlace = h('div', {class: 'lab-field'});
    this.viewPlace = h('div', {class: 'lab-field'});
    this.legend = h('ul', {class: 'lab-legend'});
    this.note = h('p', {class: 'lab-note', hidden: true});
    this.about = h('div', {class: 'lab-look'});
    this.figures = h('dl', {class: 'lab-figures'});
    this.options = h('div', {class: 'lab-options'});
    this.settings = h('div', {class: 'lab-settings'});
    const settings = h('details', {class: 'lab-more', open: this.lab.isWide}, h('summary', {text: texts.settings}), this.settings);
    this.element = h('section', {class: `lab-side lab-side-${this.number}`, label: texts[this.number ? 'second' : 'first']},
      h('header', {}, this.familyPlace, this.viewPlace),
      h('div', {class: 'lab-plane'}, this.canvas, this.note),
      this.legend, this.about, this.options, this.figures, settings);
    this.canvas.addEventListener('pointerdown', event => this.lab.pen.down(event, this));
    this.canvas.addEventListener('pointermove', event => this.lab.pen.move(event, this));
    for (const name of ['pointerup', 'pointercancel']) this.canvas.addEventListener(name, () => this.lab.pen.up());
    this.canvas.addEventListener('keydown', event => this.lab.pen.key(event, this));
    this.fill();
  }

  // Fill in what follows from the family and the view.
  fill() {
    const {spec, texts} = this.lab;
    const families = Object.values(spec.families).map(family => [family.name, family.title]);
    this.familyPlace.replaceChildren(
      h('span', {class: 'lab-name', text: texts.family}),
      dropDown(texts.family, families, this.state.family, name => this.lab.change(() => this.setFamily(name))));
    const views = this.family.views.map(view => [view.name, view.title]);
    this.viewPlace.replaceChildren(
      h('span', {class: 'lab-name', text: texts.view}),
      dropDown(texts.view, views, this.view.name, name => this.setView(name, {})));
    this.settings.replaceChildren(...this.family.controls.map(control => controlOf(control,
      this.state.settings[control.name] ?? control.default,
      value => this.lab.change(() => { this.state.settings = {...this.state.settings, [control.name]: value}; }))));
    this.fillView();
  }

  fillView() {
    const view = this.view;
    this.viewPlace.querySelector('select').value = view.name;
    say(this.about, view.look);
    this.options.replaceChildren(...view.controls.map(control => controlOf(control,
      this.state.options[control.name] ?? control.default,
      value => this.setView(view.name, {...this.state.options, [control.name]: value}))));
    this.element.dataset.view = view.name;
    this.lab.dirty = true;
  }

  setFamily(name) {
    Object.assign(this.state, {family: name, settings: {}});
    if (!this.family.views.some(view => view.name === this.state.view)) Object.assign(this.state, {view: 'samples', options: {}});
    this.fill();
  }

  // Show another view, or the same with other options.
  setView(name, options) {
    const fresh = name !== this.state.view;
    Object.assign(this.state, {view: name, options: options});
    if (fresh) this.fillView();
    this.lab.writeAddress();
    this.ask();
  }

  // Ask the server for the view: in the frames to come, and where the training rests, over the view's own clock.
  ask() {
    const shows = this.lab.rests;
    this.look += 1;
    if (shows) this.moments = [];
    this.lab.tell({what: 'look', side: this.number, view: this.state.view, options: this.state.options, number: this.look, show: shows});
    if (shows) this.lab.play();
  }

  // ---- frames ----

  clear() {
    this.history = []; // frames of the training
    this.moments = []; // frames of the view, over its own clock
    this.place = 0; // in `history`, that is shown
    this.losses = [];
    this.distances = [];
    this.shown = null;
  }

  // Take in a frame.
  take(sent) {
    const frame = unpackFrame(sent);
    if (frame.moment !== null) {
      if (sent.look === this.look) this.moments.push(frame);
      return;
    }
    this.history.push(frame);
    if (Number.isFinite(frame.loss)) this.losses.push([frame.step, frame.loss]);
    if (frame.w1 !== null) this.distances.push([frame.step, frame.w1]);
    if (this.history.length > MOST_FRAMES) { // every second of the older half is dropped
      this.history = this.history.filter((_, i) => i % 2 || i > MOST_FRAMES / 2);
      this.place = Math.min(this.place, this.history.length - 1);
    }
  }

  get newest() { return this.history[this.history.length - 1] || null; }
  get distance() { return this.distances.length ? this.distances[this.distances.length - 1][1] : null; }

  // Return the frame to show. `follow` is the time since the last, in seconds, where the newest is followed.
  at(follow) {
    const last = this.history.length - 1;
    if (last < 0) return null;
    if (follow !== null) {
      const part = this.lab.still ? 1 : 1 - Math.exp(-follow / CHASE);
      this.place += (last - this.place) * part;
      if (last - this.place < 0.02) this.place = last;
    }
    return this.mixed(this.history, Math.min(this.place, last));
  }

  mixed(frames, place) {
    const low = Math.floor(place), high = Math.min(low + 1, frames.length - 1);
    return place === low ? frames[low] : frameBetween(frames[low], frames[high], place - low);
  }

  // Return the frame of the view's clock at a moment, 0 ... 1.
  atMoment(moment) {
    const frames = this.moments;
    let i = 0;
    while (i + 1 < frames.length && frames[i + 1].moment <= moment + 1e-6) i++;
    if (!frames.length || i + 1 >= frames.length || this.lab.still) return frames[i] || null;
    const part = (moment - frames[i].moment) / (frames[i + 1].moment - frames[i].moment || 1);
    return frameBetween(frames[i], frames[i + 1], Math.max(0, part));
  }

  // ---- showing ----

  paint(data, frame) {
    this.shown = frame;
    this.drawing.draw(data, frame, this.hidden);
    this.lab.pen.paint(this);
    const layers = frame ? frame.layers : [];
    const names = [...(data ? [['data', 'data', 'points']] : []), ...(frame && frame.samples.values.length ? [[this.lab.exhibited ? 'estimates' : 'samples', 'model', 'points']] : []),
      ...layers.map(layer => [layer.name, layer.role, layer.kind])];
    const key = names.join();
    if (key !== this.legendKey) this.fillLegend(names);
    this.legendKey = key;
    this.fillFigures(frame ? frame.figures : {});
    const texts = this.lab.texts, view = this.view;
    const empty = view.name !== 'samples' && !layers.length;
    const note = !frame ? (this.lab.draws ? texts.draw_here : texts.press_start) : empty && !view.live && !this.lab.rests ? texts.later : null;
    this.note.hidden = !note || (!frame && this.lab.phase !== 'fresh');
    if (note) say(this.note, note);
  }

  fillLegend(names) {
    const texts = this.lab.texts;
    this.legend.replaceChildren(...[...new Map(names.map(one => [one[0], one])).values()].map(([name, role, kind]) => {
      const plain = name.replaceAll('_', ' ');
      const button = h('button', {type: 'button', class: `role-${role} kind-${kind}`, 'aria-pressed': String(!this.hidden.has(name))},
        h('i', {'aria-hidden': 'true'}), h('span', {text: texts[`layer_${name}`] || [plain, plain]}));
      button.addEventListener('click', () => {
        if (!this.hidden.delete(name)) this.hidden.add(name);
        button.setAttribute('aria-pressed', String(!this.hidden.has(name)));
        this.lab.dirty = true;
      });
      return h('li', {}, button);
    }));
  }

  fillFigures(figures) {
    const texts = this.lab.texts, names = Object.keys(figures), key = names.join();
    const bars = names.filter(name => name.startsWith('variance_')).map(name => figures[name]);
    if (key !== this.figuresKey) {
      this.figures.replaceChildren(...names.map(name => h('div', {class: name.startsWith('variance_') ? 'lab-bar' : 'lab-figure'},
        h('dt', {text: texts[`figure_${name}`] || [name, name]}), h('dd', {'data-name': name}))));
    }
    this.figuresKey = key;
    names.forEach((name, i) => {
      this.figures.children[i].lastChild.textContent = shortNumber(figures[name]);
      if (name.startsWith('variance_')) this.figures.children[i].style.setProperty('--part', figures[name] / Math.max(...bars));
    });
  }
}
