// The Lab's page: what the visitor has set, the training on the server, and what is shown of it.

const FRAME_MS = 30; // between two drawings
const PATIENCE_MS = [500, 1500, 4000]; // before the server is asked again, where it did not answer

class Lab {
  // `spec` is what panel.py knows: families, data, texts, lessons, and the state to begin with.
  constructor(element, spec, talk) {
    this.element = element;
    this.spec = spec;
    this.texts = spec.texts;
    this.talk = talk;
    this.state = spec.start;
    this.ticket = '';
    this.phase = 'fresh'; // fresh, waiting, learning, held, showing, done
    this.base = 'fresh'; // the same, but for the time in which a view is made
    this.data = null; // points of the running training
    this.mode = 'follow'; // of the timeline: follow the training, scrub in it, or the view's clock
    this.moment = this.until = 1;
    this.playing = false;
    this.still = matchMedia('(prefers-reduced-motion: reduce)').matches;
    this.isWide = element.clientWidth > 760;
    this.dirty = true;
    this.pen = new Pen(this);
    this.build();
    this.show();
    this.lessons.begin();
    if (spec.problem) this.problem([spec.problem, spec.problem]);
    new MutationObserver(() => translate(this.element)).observe(document.querySelector('#language-style') || document.body, {childList: true, subtree: true, characterData: true});
    new MutationObserver(() => { this.dirty = true; this.thumbnails(); }).observe(document.body, {attributes: true, attributeFilter: ['class']});
    new ResizeObserver(() => { this.dirty = true; }).observe(element);
    window.addEventListener('pagehide', () => this.leave());
    requestAnimationFrame(now => this.tick(now, now));
  }

  // Whether the server waits for what the visitor wants to see.
  get rests() { return ['held', 'done', 'showing'].includes(this.phase); }
  get draws() { return this.state.data === 'drawn' && this.phase === 'fresh'; }

  // ---- building ----

  build() {
    const texts = this.texts;
    this.problemLine = h('p', {class: 'lab-problem', role: 'alert', hidden: true});
    this.lessons = new Lessons(this);
    this.dataPlace = h('div', {class: 'lab-data', role: 'radiogroup', label: texts.data});
    this.ownPlace = h('div', {class: 'lab-own', hidden: true},
      h('p', {class: 'lab-help', text: texts.draw_help}),
      h('div', {class: 'lab-row'},
        h('button', {type: 'button', text: texts.clear, onclick: () => this.pen.clear()}),
        h('label', {class: 'lab-file'}, h('span', {text: texts.csv}), this.file())));
    this.seed = h('input', {type: 'number', min: 0, max: 2147483647, label: texts.seed, id: 'lab-seed', onchange: () => this.setSeed(this.seed.value)});
    const dice = h('button', {type: 'button', class: 'lab-dice', label: texts.dice, onclick: () => this.setSeed(Math.floor(Math.random() * 2 ** 31))}, '⚄');
    this.speedPlace = h('div');
    this.besides = h('input', {type: 'checkbox', id: 'lab-beside', onchange: () => this.change(() => this.setBeside(this.besides.checked))});
    const question = h('aside', {class: 'lab-question', label: texts.question},
      h('h3', {text: texts.data}), this.dataPlace, this.ownPlace,
      h('div', {class: 'lab-control'}, h('span', {class: 'lab-name', text: texts.seed}), h('div', {class: 'lab-row'}, this.seed, dice)),
      this.speedPlace,
      h('label', {class: 'lab-control lab-check'}, this.besides, h('span', {class: 'lab-name', text: texts.beside})));
    this.sidesPlace = h('div', {class: 'lab-sides'});
    this.startButton = h('button', {type: 'button', class: 'lab-start', id: 'lab-start', onclick: () => this.pressStart()});
    this.stepButton = h('button', {type: 'button', id: 'lab-step', text: texts.step, onclick: () => this.pressStep()});
    this.resetButton = h('button', {type: 'button', id: 'lab-reset', text: texts.reset, onclick: () => this.reset()});
    this.linkButton = h('button', {type: 'button', id: 'lab-link', text: texts.link, onclick: () => this.copyLink()});
    this.status = h('p', {class: 'lab-status', id: 'lab-status', role: 'status', 'aria-live': 'polite'});
    this.bar = h('i');
    this.transport = h('div', {class: 'lab-transport'}, this.startButton, this.stepButton, this.resetButton, this.linkButton,
      h('div', {class: 'lab-progress', 'aria-hidden': 'true'}, this.bar), this.status);
    this.buildTimeline();
    this.lossCanvas = h('canvas', {class: 'lab-curve', role: 'img', label: texts.loss_curve});
    this.distanceCanvas = h('canvas', {class: 'lab-curve', role: 'img', label: texts.w1_curve});
    this.curves = [[new Curves(this.lossCanvas, false), 'losses'], [new Curves(this.distanceCanvas, true), 'distances']];
    this.numbers = h('div', {class: 'lab-numbers'});
    const results = h('aside', {class: 'lab-results', label: texts.results},
      this.numbers,
      h('figure', {}, h('figcaption', {text: texts.w1_curve}), this.distanceCanvas, h('p', {class: 'lab-help', text: texts.w1_help})),
      h('figure', {}, h('figcaption', {text: texts.loss_curve}), this.lossCanvas, h('p', {class: 'lab-help', text: texts.loss_help})));
    const middle = h('div', {class: 'lab-middle'}, this.transport, this.timeline, this.sidesPlace);
    this.bench = h('div', {class: 'lab-bench'}, question, middle, results);
    this.element.replaceChildren(h('div', {class: 'lab'}, this.lessons.element, this.problemLine, this.bench));
  }

  buildTimeline() {
    const texts = this.texts;
    this.playButton = h('button', {type: 'button', class: 'lab-play', label: texts.play, onclick: () => this.play()}, '▶');
    this.range = h('input', {type: 'range', min: 0, max: 1000, value: 1000, id: 'lab-time', label: texts.timeline, oninput: () => this.scrub()});
    this.clock = h('output', {class: 'lab-clock', id: 'lab-clock'});
    this.modes = ['follow', 'view'].map(mode => h('button', {type: 'button', 'data-mode': mode, text: texts[`time_${mode}`], onclick: () => this.setMode(mode)}));
    this.timeline = h('div', {class: 'lab-timeline', role: 'group', label: texts.timeline},
      h('div', {class: 'lab-modes'}, ...this.modes), this.playButton, this.range, this.clock);
  }

  file() {
    return h('input', {type: 'file', accept: '.csv,.tsv,.txt,text/csv', onchange: async event => {
      const file = event.target.files[0];
      event.target.value = '';
      if (!file) return;
      const answer = await this.send({what: 'points', text: (await file.text()).slice(0, 2 ** 20 + 1)});
      if (answer && answer.points) this.change(() => { this.state.points = answer.points; });
    }});
  }

  // Show the state: all controls follow it. The sides are built anew where `sides` says so.
  show(sides = true) {
    const state = this.state, texts = this.texts;
    if (sides) {
      this.sides = state.sides.map((side, i) => new Side(this, i, side));
      this.sidesPlace.replaceChildren(...this.sides.map(side => side.element));
    }
    this.bench.dataset.sides = state.sides.length;
    this.thumbnails();
    this.ownPlace.hidden = state.data !== 'drawn';
    this.seed.value = state.seed;
    const speed = {name: 'speed', kind: 'integer', minimum: 1, maximum: 500, step: null, label: texts.speed, help: texts.speed_help};
    this.speedPlace.replaceChildren(controlOf(speed, state.speed, value => {
      state.speed = value;
      this.writeAddress();
      this.tell({what: 'speed', speed: value});
    }));
    this.besides.checked = state.sides.length > 1;
    this.showPhase();
    this.writeAddress();
    this.dirty = true;
  }

  thumbnails() {
    const names = [...Object.keys(this.spec.data), 'drawn'];
    if (!this.dataPlace.children.length) {
      this.dataPlace.append(...names.map(name => h('button', {type: 'button', role: 'radio', 'data-name': name, class: 'lab-set', label: this.texts[`data_${name}`],
        onclick: () => this.change(() => { this.state.data = name; })}, h('canvas', {'aria-hidden': 'true'}), h('span', {text: this.texts[`data_${name}`]}))));
      this.dataPlace.addEventListener('keydown', event => {
        const way = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
        if (!way) return;
        event.preventDefault();
        const to = names[(names.indexOf(this.state.data) + way + names.length) % names.length];
        this.change(() => { this.state.data = to; });
        this.dataPlace.querySelector(`[data-name="${to}"]`).focus();
      });
    }
    for (const button of this.dataPlace.children) {
      const name = button.dataset.name, chosen = name === this.state.data;
      button.setAttribute('aria-checked', String(chosen));
      button.tabIndex = chosen ? 0 : -1;
      new PlaneDrawing(button.querySelector('canvas')).draw(this.pointsOf(name), null, new Set());
    }
  }

  // Return the points of a data set, as far as the browser has them.
  pointsOf(name) {
    if (name === 'drawn') return {values: new Float32Array(unpackPoints(this.state.points).flat())};
    return this.spec.data[name];
  }

  // ---- what the visitor does ----

  // Change what is learnt: a training that runs ends.
  change(make) {
    if (this.phase !== 'fresh') this.reset();
    this.problemLine.hidden = true;  // it was about what is changed now
    const before = this.state.sides.length;
    make();
    this.show(this.state.sides.length !== before);
  }

  setSeed(value) {
    this.change(() => { this.state.seed = Math.max(0, Math.min(2 ** 31 - 1, Math.round(Number(value)) || 0)); });
  }

  setBeside(on) {
    const first = this.state.sides[0], names = Object.keys(this.spec.families);
    const other = names.find(name => name !== first.family) || first.family;
    this.state.sides = on ? [first, {family: other, settings: {}, view: 'samples', options: {}}] : [first];
  }

  async pressStart() {
    if (this.base === 'fresh' || this.base === 'done') return this.start();
    if (this.base !== 'held') return this.tell({what: 'hold'});
    this.setMode('follow');
    return this.tell({what: 'go'});
  }

  async pressStep() {
    if (this.phase === 'fresh' && !await this.start(true)) return;
    this.mode = 'follow';
    await this.tell({what: 'step'});
  }

  // Begin a training; `held` if it is to make no step yet.
  async start(held = false, exhibit = null) {
    const before = this.ticket;
    this.clear();
    this.exhibit(exhibit);
    this.setPhase('waiting');
    const answer = await this.send({what: 'start', experiment: this.state, ticket: before, held: held, exhibit: exhibit});
    if (!answer || !answer.ticket) {
      if (answer && !answer.problem) this.problem(this.texts.no_answer);
      this.setPhase('fresh');
      return false;
    }
    this.ticket = answer.ticket;
    this.data = unpack(answer.data || null);
    this.follow(answer.ticket);
    return true;
  }

  // Show that no training is to be seen, but something else; null ends it.
  exhibit(name) {
    this.exhibited = name;
    this.bench.classList.toggle('lab-exhibit', Boolean(name));
  }

  reset() {
    this.leave();
    this.clear();
    this.exhibit(null);
    this.setPhase('fresh');
  }

  clear() {
    this.data = null;
    this.mode = 'follow';
    this.playing = false;
    this.problemLine.hidden = true;
    for (const side of this.sides) side.clear();
    this.dirty = true;
  }

  leave() {
    if (this.ticket) this.talk({what: 'leave', ticket: this.ticket}).catch(() => {});
    this.ticket = '';
  }

  // ---- the server ----

  // Send a message and return the answer; a problem is shown. Null if there is no answer.
  async send(message) {
    let answer = null;
    try {
      answer = await this.talk(message);
    } catch {
      this.problem(this.texts.no_answer);
      return null;
    }
    if (answer && answer.problem) this.problem(this.texts[`problem_${answer.problem}`] || [answer.problem, answer.problem]);
    return answer;
  }

  // Tell the running training something. Returns whether it took it.
  async tell(message) {
    if (!this.ticket) return false;
    const answer = await this.send({...message, ticket: this.ticket});
    return Boolean(answer && !answer.problem);
  }

  // Ask for the frames of a training until it has ended or another one has begun.
  async follow(ticket) {
    let after = 0, known = '', failures = 0;
    while (this.ticket === ticket && this.element.isConnected) {
      let news;
      try {
        news = await this.talk({what: 'frames', ticket: ticket, after: after, state: known});
        failures = 0;
      } catch {
        if (failures >= PATIENCE_MS.length) { news = {state: 'ended', problem: 'gone', frames: []}; }
        else { await new Promise(done => setTimeout(done, PATIENCE_MS[failures++])); continue; }
      }
      if (this.ticket !== ticket) return;
      if (!news || !news.state) news = {state: 'ended', problem: news && news.problem || 'gone', frames: []};
      for (const frame of news.frames || []) {
        after = frame.number;
        if (this.sides[frame.which]) this.sides[frame.which].take(frame);
      }
      if (news.frames && news.frames.length) this.dirty = true;
      known = news.state;
      if (known === 'ended') {
        this.ticket = '';
        this.setPhase(this.phase === 'done' ? 'done' : 'fresh', true);
        this.problem(this.texts[`problem_${news.problem || 'gone'}`] || [news.problem, news.problem]);
        return;
      }
      if (known) this.setPhase(known);
    }
    this.leave();
  }

  // ---- phases ----

  setPhase(phase) {
    if (phase === this.phase) { this.showPhase(); return; }
    const rested = this.rests;
    this.phase = phase;
    if (phase !== 'showing') this.base = phase;
    this.element.dataset.phase = phase;
    if (this.rests && !rested && !this.exhibited) { // views with a clock of their own come now
      for (const side of this.sides) if (!side.view.live && side.view.name !== 'samples') side.ask();
    }
    this.showPhase();
    this.dirty = true;
  }

  showPhase() {
    const {texts, phase} = this, key = {fresh: 'start', held: 'go_on', done: 'again'}[this.base] || 'pause';
    say(this.startButton, texts[key]);
    this.stepButton.disabled = this.base === 'done';
    this.resetButton.disabled = phase === 'fresh';
    const one = this.sides && this.sides[0].newest;
    const named = phase === 'learning' && !one ? 'waiting' : phase;
    const values = one ? {step: one.step, steps: one.steps, seconds: one.seconds.toFixed(1)} : {step: 0, steps: 0, seconds: 0};
    say(this.status, filled(texts[`phase_${named}`], values));
    this.status.dataset.step = one ? one.step : '';
    this.bar.style.width = one ? `${100 * one.step / one.steps}%` : '0';
  }

  problem(pair) {
    say(this.problemLine, pair.map(text => text.replace(/[&<]/g, sign => ({'&': '&amp;', '<': '&lt;'}[sign]))));
    this.problemLine.hidden = false;
  }

  // ---- time ----

  setMode(mode) {
    this.mode = mode;
    this.moment = 1;
    this.playing = false;
    this.dirty = true;
  }

  // Play the view's clock from the beginning; or the training, where the view has none.
  play() {
    const view = this.sides.some(side => side.moments.length > 1 || side.look) && this.rests;
    this.mode = view ? 'view' : 'scrub';
    this.moment = 0;
    this.until = 1;
    this.playing = true;
    this.dirty = true;
  }

  // Play a part of the view's clock, from one moment to another.
  playPart(from, until) {
    Object.assign(this, {mode: 'view', moment: from, until: until, playing: true, dirty: true});
  }

  scrub() {
    this.playing = false;
    this.moment = this.range.value / 1000;
    if (this.mode === 'follow') this.mode = 'scrub';
    if (this.mode === 'scrub' && this.moment === 1) this.mode = 'follow';
    this.dirty = true;
  }

  tick(now, before) {
    if (!this.element.isConnected) { this.leave(); return; }
    requestAnimationFrame(next => this.tick(next, now - before < FRAME_MS ? before : now));
    if (now - before < FRAME_MS) return;
    const seconds = Math.min(0.2, (now - before) / 1000);
    if (this.playing) this.advance(seconds);
    const moving = this.playing || (this.mode === 'follow' && this.sides.some(side => side.place < side.history.length - 1));
    if (!moving && !this.dirty) return;
    this.dirty = false;
    this.paint(this.mode === 'follow' ? seconds : null);
  }

  advance(seconds) {
    const come = this.mode !== 'view' ? 1 : Math.max(0, ...this.sides.map(side => side.moments.length ? side.moments[side.moments.length - 1].moment : 0));
    this.moment = Math.min(come, this.until, this.moment + seconds / PLAY_SECONDS);
    if (this.moment >= this.until) this.playing = false;
    if (this.mode === 'scrub' && !this.playing) this.mode = 'follow';
  }

  paint(follow) {
    let label = '';
    const lines = {losses: [], distances: []};
    for (const side of this.sides) {
      if (this.mode === 'scrub') side.place = this.moment * Math.max(0, side.history.length - 1);
      const clocked = this.mode === 'view' && side.moments.length ? side.atMoment(this.moment) : null;
      const frame = clocked || side.at(follow);
      side.paint(this.exhibited ? null : this.data || this.pointsOf(this.state.data), frame);
      if (frame && !label) label = clocked ? frame.label : String(frame.step);
      lines.losses.push(side.losses);
      lines.distances.push(side.distances);
    }
    const first = this.sides[0], steps = first.newest ? first.newest.steps : 0;
    const at = this.mode === 'scrub' && first.shown ? first.shown.step : null;
    for (const [curves, name] of this.curves) curves.draw(lines[name], steps, at);
    this.showNumbers();
    this.showTimeline(label);
  }

  showNumbers() {
    const {texts} = this;
    if (this.numbers.children.length !== this.sides.length) {
      this.numbers.replaceChildren(...this.sides.map((side, i) => h('div', {class: `lab-number lab-number-${i}`}, h('b', {'data-w1': ''}), h('span'))));
    }
    this.sides.forEach((side, i) => {
      const [value, name] = this.numbers.children[i].children;
      value.textContent = shortNumber(side.distance);
      value.dataset.w1 = side.distance ?? '';
      say(name, this.sides.length > 1 ? side.family.title.map((title, l) => `${texts.w1_short[l]}, ${title}`) : texts.w1_short);
    });
  }

  showTimeline(label) {
    const clocks = this.sides.some(side => side.moments.length > 1);
    const any = this.sides.some(side => side.history.length > 1);
    this.timeline.hidden = !any && !clocks;
    const training = this.mode !== 'view';
    this.modes.forEach(button => {
      button.setAttribute('aria-pressed', String((button.dataset.mode === 'view') === !training));
      button.hidden = !clocks;
    });
    if (this.mode === 'follow') this.range.value = 1000;
    else if (document.activeElement !== this.range || this.playing) this.range.value = Math.round(1000 * this.moment);
    this.clock.textContent = label;
    this.range.setAttribute('aria-valuetext', label);
  }

  // ---- the link ----

  // Write all that is set into the address. experiment.py reads it.
  writeAddress() {
    const state = this.state, query = new URLSearchParams({data: state.data, seed: state.seed, speed: state.speed});
    state.sides.forEach((side, i) => {
      const end = i ? '2' : '';
      query.set(`family${end}`, side.family);
      query.set(`view${end}`, side.view);
      const family = this.spec.families[side.family], view = family.views.find(one => one.name === side.view);
      for (const [name, controls] of [['settings', family.controls], ['options', view ? view.controls : []]]) {
        const changed = controls.filter(one => (side[name][one.name] ?? one.default) !== one.default);
        if (changed.length) query.set(name + end, JSON.stringify(Object.fromEntries(changed.map(one => [one.name, side[name][one.name]]))));
      }
    });
    if (state.data === 'drawn' && state.points) query.set('points', state.points);
    if (state.lesson) { query.set('lesson', state.lesson); query.set('step', state.step); }
    history.replaceState(null, '', `${location.pathname}?${query}`);
  }

  async copyLink() {
    this.writeAddress();
    try {
      await navigator.clipboard.writeText(location.href);
      say(this.linkButton, this.texts.copied);
    } catch {
      say(this.linkButton, this.texts.in_address);
    }
    setTimeout(() => say(this.linkButton, this.texts.link), 2500);
  }
}
