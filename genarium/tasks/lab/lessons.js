// The Lab's lessons: five steps each, of which every one sets the page up and says what to look for.

class Lessons {
  constructor(lab) {
    this.lab = lab;
    const texts = lab.texts;
    this.list = h('div', {class: 'lab-lesson-list', role: 'list'}, ...Object.entries(lab.spec.lessons).map(([name, lesson]) =>
      h('div', {role: 'listitem'}, h('button', {type: 'button', 'data-lesson': name, text: lesson.title, onclick: () => this.open(name, 0)}))));
    this.title = h('h3');
    this.count = h('span', {class: 'lab-count'});
    this.doing = h('p');
    this.looking = h('p', {class: 'lab-looking'});
    this.back = h('button', {type: 'button', text: texts.lesson_back, onclick: () => this.open(this.name, this.step - 1)});
    this.next = h('button', {type: 'button', class: 'lab-start', id: 'lab-lesson-next', onclick: () => this.forward()});
    this.close = h('button', {type: 'button', class: 'lab-close', label: texts.lesson_close, onclick: () => this.shut()}, '×');
    this.card = h('article', {class: 'lab-lesson', id: 'lab-lesson', hidden: true, 'aria-live': 'polite'},
      h('header', {}, this.title, this.count, this.close), this.doing, this.looking, h('div', {class: 'lab-row'}, this.back, this.next));
    this.element = h('section', {class: 'lab-lessons', label: texts.lessons},
      h('h3', {class: 'lab-lessons-title', text: texts.lessons}), this.list, this.card);
    this.name = '';
    this.step = 0;
    const {lesson, step} = lab.state;
    if (lesson in lab.spec.lessons) this.write(lesson, step);
  }

  // Show what the lesson of a link begins with, as far as no training is needed for it.
  begin() {
    if (this.name && this.steps[this.step].gradients) this.open(this.name, this.step);
  }

  get steps() { return this.lab.spec.lessons[this.name].steps; }

  forward() {
    if (this.step + 1 < this.steps.length) this.open(this.name, this.step + 1);
    else this.shut();
  }

  // Set the page up for a step. A training that the step shares with the one before goes on; another one begins.
  async open(name, step) {
    const lab = this.lab;
    this.write(name, step);
    const gradients = this.steps[this.step].gradients;
    const wanted = structuredClone({speed: 25, ...this.steps[this.step].set, lesson: name, step: this.step, points: ''});
    const learnt = state => JSON.stringify([state.data, state.seed, state.sides.map(side => [side.family, side.settings])]);
    if (lab.ticket && !gradients && !lab.exhibited && learnt(lab.state) === learnt(wanted)) {
      wanted.sides.forEach((side, i) => {
        const same = JSON.stringify([lab.state.sides[i].view, lab.state.sides[i].options]) === JSON.stringify([side.view, side.options]);
        if (!same) lab.sides[i].setView(side.view, side.options);
        lab.sides[i].fillView();
      });
      Object.assign(lab.state, {lesson: name, step: this.step});
      lab.writeAddress();
      return;
    }
    if (gradients && lab.exhibited) lab.state = wanted;
    else {
      lab.reset();
      lab.state = wanted;
      lab.show();
      await lab.start(false, gradients ? 'gradients' : null);
    }
    if (gradients) lab.playPart(...gradients);
    lab.writeAddress();
  }

  // Show the words of a step.
  write(name, step) {
    const texts = this.lab.texts;
    this.name = name;
    const lesson = this.lab.spec.lessons[name];
    this.step = Math.max(0, Math.min(lesson.steps.length - 1, step));
    say(this.title, lesson.title);
    this.count.textContent = `${this.step + 1} / ${lesson.steps.length}`;
    say(this.doing, lesson.steps[this.step].do);
    say(this.looking, lesson.steps[this.step].look);
    say(this.next, this.step + 1 < lesson.steps.length ? texts.lesson_next : texts.lesson_end);
    this.back.disabled = this.step === 0;
    this.card.hidden = false;
    this.card.dataset.step = this.step;
    this.mark();
  }

  shut() {
    Object.assign(this.lab.state, {lesson: '', step: 0});
    this.card.hidden = true;
    this.name = '';
    this.mark();
    if (this.lab.exhibited) this.lab.reset();
    this.lab.writeAddress();
  }

  mark() {
    this.list.querySelectorAll('button').forEach(button => button.setAttribute('aria-pressed', String(button.dataset.lesson === this.name)));
  }
}
