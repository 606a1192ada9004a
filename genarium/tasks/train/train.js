// The train page: a visitor's pictures, what was found among them, the choice of a training, and the trainings there are.
// The server keeps everything. The page asks for news once a second, so it may be closed and opened at any time.

const KEY = 'genarium-visitor', ASK_MS = 1000, RETRY_MS = 3000, UPLOADS = 3, GIVEN = 40;

class Train {
  constructor(element, spec, talk, upload) {
    Object.assign(this, {element, spec, upload, seen: {}, cards: {}, found: {}, sheets: {}, wishes: {}, set: null, edited: false, busy: false});
    this.talkRaw = talk;
    element.innerHTML = '';
    element.className = 'train';
    new MutationObserver(() => translate(this.element)).observe(document.querySelector('#language-style') || document.body, {childList: true, subtree: true, characterData: true});
    new MutationObserver(() => Object.values(this.cards).forEach(card => card.dirty = true)).observe(document.body, {attributes: true, attributeFilter: ['class']});
    this.begin();
  }

  t(key, values) { return filled(this.spec.texts[key], values || {}); }

  async ask(what, facts) {
    const answer = await this.talkRaw({what, visitor: localStorage.getItem(KEY) || '', seen: this.seen, ...facts});
    if (answer.visitor) localStorage.setItem(KEY, answer.visitor);
    return answer;
  }

  // Ask something on behalf of a click; say what is wrong in place.
  async act(what, facts, problem) {
    const place = problem || this.problem;
    hush(place);
    try {
      const answer = await this.ask(what, facts);
      if (answer.problem) { this.wrong(place, answer.problem); return null; }
      if (answer.runs) this.show(answer);
      return answer;
    } catch (error) { this.wrong(place, this.t('offline')); return null; }
  }

  wrong(place, pair) {
    say(place, pair.map(text => text.replace(/&(?!amp;|lt;|gt;)/g, '&amp;').replace(/<(?!\/?code>)/g, '&lt;')));
    place.classList.add('train-problem');
  }

  // ---- building ----

  async begin() {
    let hello = null;
    while (!hello) {
      try { hello = await this.ask('hello', {}); } catch (error) { await new Promise(done => setTimeout(done, RETRY_MS)); }
    }
    if (hello.problem) {
      const place = h('p', {class: 'train-closed', id: 'train-closed'});
      this.element.append(place);
      say(place, hello.problem);
      return;
    }
    Object.assign(this, {families: hello.families, quotas: hello.quotas, local: hello.local});
    this.element.append(h('div', {class: 'train-bench'},
      h('div', {class: 'train-question'}, this.buildPictures(), this.buildChoice()),
      h('div', {class: 'train-answer'}, this.buildFound(), this.buildRuns())));
    this.show(hello);
    this.follow();
  }

  buildPictures() {
    const files = h('input', {type: 'file', multiple: true, id: 'train-files', label: this.t('choose_files'), onchange: () => this.take([...files.files].map(f => [f.name, f]), files)});
    const folder = h('input', {type: 'file', webkitdirectory: true, id: 'train-folder', label: this.t('choose_folder'),
      onchange: () => this.take([...folder.files].map(f => [f.webkitRelativePath || f.name, f]), folder)});
    this.drop = h('div', {class: 'train-drop', id: 'train-drop'},
      h('p', {text: this.t('drop')}),
      h('div', {class: 'train-row'}, h('label', {class: 'train-file'}, h('span', {text: this.t('choose_files')}), files),
        h('label', {class: 'train-file'}, h('span', {text: this.t('choose_folder')}), folder)));
    for (const name of ['dragenter', 'dragover']) this.drop.addEventListener(name, event => { event.preventDefault(); this.drop.classList.add('over'); });
    this.drop.addEventListener('dragleave', () => this.drop.classList.remove('over'));
    this.drop.addEventListener('drop', event => { event.preventDefault(); this.drop.classList.remove('over'); this.dropped(event.dataTransfer); });
    this.sets = h('div', {class: 'train-sets', id: 'train-sets'});
    this.problem = h('p', {class: 'train-said', id: 'train-problem', role: 'status'});
    const parts = [h('h3', {text: this.t('pictures')}), this.drop];
    if (this.local) {
      this.path = h('input', {type: 'text', id: 'train-path', label: this.t('path'), spellcheck: 'false', placeholder: '/home/me/pictures'});
      this.path.addEventListener('keydown', event => { if (event.key === 'Enter') this.takePath(); });
      parts.push(h('div', {class: 'train-control'}, h('span', {class: 'train-name', text: this.t('path')}),
        h('div', {class: 'train-row'}, this.path, h('button', {type: 'button', id: 'train-look', text: this.t('look'), onclick: () => this.takePath()}))));
    }
    this.hub = h('input', {type: 'text', id: 'train-hub', label: this.t('hub'), spellcheck: 'false', maxlength: 300, placeholder: 'user/name'});
    this.hub.addEventListener('keydown', event => { if (event.key === 'Enter') this.takeHub(); });
    parts.push(h('div', {class: 'train-control'}, h('span', {class: 'train-name', text: this.t('hub')}),
      h('div', {class: 'train-row'}, this.hub, h('button', {type: 'button', id: 'train-hub-look', text: this.t('look'), onclick: () => this.takeHub()})),
      h('p', {class: 'train-help', text: this.t('hub_help')})));
    const bounds = this.quotas;
    parts.push(h('p', {class: 'train-help', text: this.t('bounds', bounds)}));
    if (bounds.hours) parts.push(h('p', {class: 'train-help', text: this.t('kept_hours', bounds)}));
    return h('section', {class: 'train-card'}, ...parts, this.problem, this.sets);
  }

  buildChoice() {
    const choices = [...this.families.map(([name, title]) => [name, [title, title]])];
    const changed = () => { this.described(); this.drafted(); };
    this.name = h('input', {type: 'text', id: 'train-name', label: this.t('name'), maxlength: 48, spellcheck: 'false', value: 'my-model', onchange: () => this.drafted()});
    this.family = this.select('family', choices, this.families[0] && this.families[0][0], changed);
    this.about = h('p', {class: 'train-help'});
    const minutes = [1, 10, 60].filter(number => number <= this.quotas.minutes);
    this.minutes = this.select('time', [...minutes.map(n => [String(n), this.t(`minute_${n}`)]), ['', this.t('minute_recipe')]], '1', () => {});
    this.size = this.select('size', [28, 32, 64].map(n => [String(n), this.t('pixels', {size: n})]), '32', changed);
    this.channels = this.select('colours', [['1', this.t('grey')], ['3', this.t('colour')]], '3', changed);
    this.recipe = h('textarea', {id: 'train-recipe', label: this.t('recipe'), rows: 16, spellcheck: 'false', oninput: () => { this.edited = true; }});
    this.details = h('details', {id: 'train-details', ontoggle: () => this.drafted()}, h('summary', {text: this.t('recipe')}),
      h('p', {class: 'train-help', text: this.t('recipe_help')}), this.recipe,
      h('button', {type: 'button', text: this.t('recipe_again'), onclick: () => { this.edited = false; this.drafted(); }}));
    this.start = h('button', {type: 'button', class: 'train-start', id: 'train-start', text: this.t('start'), onclick: () => this.begins()});
    this.startProblem = h('p', {class: 'train-said', role: 'status', id: 'train-start-problem'});
    this.choice = h('section', {class: 'train-card', hidden: true, id: 'train-choice'}, h('h3', {text: this.t('training')}),
      this.control('name', this.name), this.control('family', this.family, this.about), this.control('time', this.minutes, h('p', {class: 'train-help', text: this.t('time_help')})),
      h('div', {class: 'train-two'}, this.control('size', this.size), this.control('colours', this.channels)), this.details, this.start, this.startProblem);
    this.described();
    return this.choice;
  }

  control(key, ...parts) { return h('div', {class: 'train-control'}, h('span', {class: 'train-name', text: this.t(key)}), ...parts); }

  select(key, choices, value, onchange) {
    const element = h('select', {id: `train-${key}`, label: this.t(key), onchange}, ...choices.map(([name, pair]) => h('option', {value: name, text: pair})));
    if (value !== undefined) element.value = value;
    return element;
  }

  described() {
    const family = this.families.find(([name]) => name === this.family.value);
    if (family) say(this.about, [family[2].en, family[2].zh || family[2].en].map(text => this.safe(text)));
  }

  safe(text) { const place = document.createElement('i'); place.textContent = text; return place.innerHTML; }

  buildFound() {
    this.foundPlace = h('section', {class: 'train-found', id: 'train-found', hidden: true});
    return this.foundPlace;
  }

  buildRuns() {
    this.runs = h('div', {class: 'train-runs', id: 'train-runs'});
    this.none = h('p', {class: 'train-help', text: this.t('no_runs')});
    return h('section', {}, h('h3', {text: this.t('runs')}), this.none, this.runs);
  }

  // ---- bringing pictures ----

  async dropped(transfer) {
    const entries = [...transfer.items].map(item => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean), files = [];
    const walk = async (entry, above) => {
      if (entry.isFile) files.push([above + entry.name, await new Promise((done, failed) => entry.file(done, failed))]);
      else {
        const reader = entry.createReader();
        for (let part = ['']; part.length;) {
          part = await new Promise((done, failed) => reader.readEntries(done, failed));
          for (const one of part) await walk(one, `${above}${entry.name}/`);
        }
      }
    };
    if (entries.length) for (const entry of entries) await walk(entry, '');
    else files.push(...[...transfer.files].map(file => [file.name, file]));
    this.take(files);
  }

  // Upload files a few at a time, hand them to the visitor's set in parts, then let it be looked at.
  async take(files, input) {
    if (!files.length || this.busy) return;
    this.busy = true;
    hush(this.problem);
    const most = this.quotas.file_megabytes, waiting = [], failed = [];
    let done = 0, set = null, next = 0;
    const report = () => say(this.problem, this.t('uploading', {done, total: files.length}));
    const hand = async least => {
      while (waiting.length > least) {
        const answer = await this.ask('add', {set, files: waiting.splice(0, GIVEN)});
        if (answer.problem) throw answer.problem;
        set = answer.set;
      }
    };
    let handing = Promise.resolve();
    const worker = async () => {
      while (next < files.length) {
        const [name, file] = files[next++];
        if (file.size > most * 2 ** 20) failed.push(this.t('too_large_file', {name: this.safe(name), most}));
        else {
          try { waiting.push([name, (await this.upload(file)).path]); } catch (error) { failed.push(this.t('upload_failed', {name: this.safe(name)})); }
        }
        done++;
        report();
        if (waiting.length >= GIVEN) await (handing = handing.then(() => hand(GIVEN - 1)));
      }
    };
    try {
      report();
      await Promise.all(Array.from({length: UPLOADS}, worker));
      await handing.then(() => hand(0));
      hush(this.problem);
      if (failed.length) this.wrong(this.problem, failed[0].map((text, i) => text + (failed.length > 1 ? ' ' + this.t('f_more', {number: failed.length - 1})[i] : '')));
      if (set) { this.set = set; const answer = await this.ask('look', {set}); if (answer.problem) throw answer.problem; this.show(answer); }
    } catch (problem) { this.wrong(this.problem, Array.isArray(problem) ? problem : this.t('offline')); }
    if (input) input.value = '';
    this.busy = false;
  }

  async takePath() {
    const answer = await this.act('path', {path: this.path.value});
    if (answer) { this.set = answer.set; await this.act('look', {set: answer.set}); }
  }

  async takeHub() {
    const answer = await this.act('hub', {address: this.hub.value});
    if (answer) { this.set = answer.set; await this.act('look', {set: answer.set}); }
  }

  // ---- news ----

  async follow() {
    for (;;) {
      await new Promise(done => setTimeout(done, ASK_MS));
      if (!this.element.isConnected) return;
      if (document.hidden || this.busy) continue;
      try {
        const news = await this.ask('news', {});
        if (!news.problem) this.show(news);
        if (this.away) { this.away = false; hush(this.problem); }
      } catch (error) {
        this.away = true;
        this.wrong(this.problem, this.t('offline'));
        await new Promise(done => setTimeout(done, RETRY_MS));
      }
    }
  }

  show(news) {
    for (const set of news.sets) {
      if (set.found) { this.found[set.set] = set.found; this.sheets[set.set] = set.sheet; this.seen[set.set] = set.sheet_name; }
    }
    const kept = news.sets.map(set => set.set);
    if (!kept.includes(this.set)) this.set = kept.length ? kept[kept.length - 1] : null;
    this.showSets(news.sets);
    this.showRuns(news.runs);
  }

  showSets(sets) {
    const mark = JSON.stringify([this.set, sets.map(set => [set.set, set.state, set.key, set.progress, set.hub, Boolean(this.found[set.set])])]);
    if (mark === this.setsMark) return;
    this.setsMark = mark;
    this.sets.replaceChildren(...sets.map(set => {
      const progress = set.progress || {}, megabytes = bytes => (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);
      const words = set.state === 'looking' && progress.what === 'fetching'
        ? (progress.total ? this.t('fetching', {done: megabytes(progress.done), total: megabytes(progress.total)}) : this.t('fetching_now'))
        : set.state === 'looking' ? (set.progress && set.progress.total ? this.t('looking', set.progress) : this.t('looking_now'))
        : set.state === 'failed' ? (set.reason ? set.reason.map(text => this.safe(text)) : this.t(set.key || 'crashed'))
        : this.found[set.set] ? [`${this.found[set.set].pictures} ${this.t('f_pictures')[0].toLowerCase()}`, `${this.found[set.set].pictures} ${this.t('f_pictures')[1]}`].map(text => set.hub ? `${this.safe(set.hub)} – ${text}` : text) : this.t('set_of', {files: set.files || 0});
      const row = h('div', {class: `train-set ${set.state}`, 'data-state': set.state, 'aria-current': set.set === this.set ? 'true' : 'false'},
        h('button', {type: 'button', class: 'train-choose', onclick: () => { this.set = set.set; this.setsMark = ''; this.showSets(sets); }}, say(h('span', {}), words)),
        h('button', {type: 'button', class: 'train-small', label: this.t('delete_pictures'), onclick: () => this.act('delete_set', {set: set.set})}, '×'));
      return row;
    }));
    const chosen = sets.find(set => set.set === this.set), found = chosen && chosen.state === 'found' ? this.found[this.set] : null;
    this.foundPlace.hidden = this.choice.hidden = !found;
    if (found && this.shownSet !== this.set) this.showFound(found, chosen.license);
    if (!found) this.shownSet = null;
  }

  showFound(found, license) {
    this.shownSet = this.set;
    const [low, median, high] = found.size_range, form = found.proposal;
    const classes = Object.entries(found.classes);
    const list = pairs => h('dl', {class: 'train-facts'}, ...pairs.map(([key, value]) => h('div', {}, h('dt', {text: this.t(key)}), h('dd', {text: value}))));
    const plain = text => [this.safe(String(text)), this.safe(String(text))];
    const background = form.background ? h('span', {class: 'train-dot', style: `background:${form.background}`}) : null;
    const source = found.source && this.safe(found.source.replace(/(@.{8}).*/, '$1'));
    const facts = list([
      ...(source ? [['f_source', license ? this.t('f_license', {source, license: this.safe(license)}) : [source, source]]] : []),
      ['f_pictures', plain(found.pictures)],
      ['f_sizes', low === high ? this.t('f_same', {low}) : this.t('f_range', {low, median, high})],
      ['f_modes', plain(Object.entries(found.modes).map(([mode, n]) => `${mode} ${n}`).join(', '))],
      ['f_classes', classes.length ? plain(classes.slice(0, 12).map(([name, n]) => `${name} ${n}`).join(', ') + (classes.length > 12 ? ' …' : '')) : this.t('f_no_classes')],
      ['f_background', form.background ? plain(form.background) : this.t('f_no_background')],
    ]);
    if (background) facts.lastElementChild.lastElementChild.prepend(background);
    const counts = Object.entries(found.counts), total = counts.reduce((sum, [, [n]]) => sum + n, 0);
    const beyond = found.counts.beyond ? found.counts.beyond[0] - 1 : 0;  // one line stands for all of these
    const hidden = total - found.left_out.length - beyond;
    const left = total ? h('details', {id: 'train-left-out'},
      h('summary', {}, say(h('span', {}), this.t('f_left_out').map((text, i) => `${text}: ${total} – ` + counts.map(([, [n, en, zh]]) => this.safe(`${n} ${[en, zh][i]}`)).join(', ')))),
      h('ul', {}, ...found.left_out.map(([name, , en, zh]) => h('li', {}, h('code', {}, name), ' ', say(h('span', {}), [this.safe(en), this.safe(zh)]))),
        hidden > 0 ? h('li', {text: this.t('f_more', {number: hidden})}) : null))
      : list([['f_left_out', this.t('f_nothing')]]);
    this.foundPlace.replaceChildren(h('h3', {text: this.t('found')}), h('img', {class: 'train-sheet', src: this.sheets[this.set], label: this.t('sheet'), id: 'train-sheet'}), facts, left);
    for (const [select, value] of [[this.size, form.sample_size], [this.channels, form.channels]]) {
      select.value = String(value);
      for (const option of select.options) {
        const pair = select === this.size ? this.t('pixels', {size: option.value}) : this.t(option.value === '1' ? 'grey' : 'colour');
        labelled(option, option.value === String(value) ? this.spec.texts.proposed.map((text, i) => text.replace('{what}', pair[i])) : pair);
      }
    }
    this.edited = false;
    this.drafted();
  }

  // ---- starting ----

  wanted() {
    const dark = this.found[this.set] ? this.found[this.set].proposal.dark_background : null;
    return {set: this.set, name: this.name.value.trim(), family: this.family.value, size: Number(this.size.value), channels: Number(this.channels.value), dark};
  }

  async drafted() {
    if (!this.details.open || this.edited || !this.set) return;
    const answer = await this.act('recipe', this.wanted(), this.startProblem);
    if (answer) this.recipe.value = answer.recipe;
  }

  async begins() {
    this.start.disabled = true;
    const recipe = this.edited && this.details.open ? this.recipe.value : null;
    const minutes = this.minutes.value ? Number(this.minutes.value) : null;
    await this.act('start', {...this.wanted(), minutes, recipe}, this.startProblem);
    this.start.disabled = false;
  }

  // ---- trainings ----

  showRuns(runs) {
    this.none.hidden = runs.length > 0;
    const known = new Set(runs.map(run => run.run));
    for (const [ticket, card] of Object.entries(this.cards)) if (!known.has(ticket)) { card.element.remove(); delete this.cards[ticket]; delete this.seen[ticket]; }
    for (const run of runs) {
      if (!this.cards[run.run]) {
        this.cards[run.run] = new RunCard(this, run.run);
        this.runs.prepend(this.cards[run.run].element);
      }
      this.cards[run.run].show(run);
    }
  }
}

class RunCard {
  constructor(page, ticket) {
    Object.assign(this, {page, ticket, dirty: true});
    const t = key => page.t(key), act = what => () => this.act(what);
    const button = (what, key) => h('button', {type: 'button', class: `train-${what}`, text: t(key), onclick: act(what)});
    this.title = h('h4', {});
    this.status = h('p', {class: 'train-status', role: 'status'});
    this.numbers = h('p', {class: 'train-numbers'});
    this.bar = h('i', {});
    this.curve = h('canvas', {class: 'train-curve', label: t('curve')});
    this.sheet = h('img', {class: 'train-samples', label: t('samples'), hidden: true});
    this.later = h('p', {class: 'train-help', text: t('samples_later')});
    this.figures = h('dl', {class: 'train-facts'});
    this.buttons = {pause: button('pause', 'pause'), resume: button('resume', 'resume'), finish: button('finish', 'finish'), download: button('download', 'download')};
    this.links = h('span', {class: 'train-links'});
    this.remove = h('button', {type: 'button', class: 'train-delete', text: t('delete'), onclick: () => this.deletes()});
    this.problem = h('p', {class: 'train-said'});
    this.lines = h('pre', {class: 'train-log', tabindex: '0', label: t('log')});
    this.log = h('details', {class: 'train-logs', ontoggle: () => this.reads()}, h('summary', {text: t('log')}), this.lines);
    this.publish = h('p', {class: 'train-help', text: t(page.spec.signs_in ? 'publish_here' : 'publish_how')});
    this.element = h('article', {class: 'train-run', 'data-run': ticket},
      h('header', {}, this.title, this.status), h('div', {class: 'train-bar'}, this.bar),
      h('div', {class: 'train-views'}, h('div', {}, this.curve, this.numbers), h('div', {}, this.sheet, this.later)),
      this.figures, h('div', {class: 'train-row'}, this.links, ...Object.values(this.buttons), this.remove), this.log, this.publish, this.problem);
  }

  async act(what) {
    if (what === 'pause' || what === 'finish') this.wish = what;
    const answer = await this.page.act(what, {run: this.ticket}, this.problem);
    if (!answer) this.wish = null;
    if (answer && answer.file) h('a', {href: `${this.page.spec.root}/gradio_api/file=${answer.file}`, download: answer.name}).click();
  }

  // Show the last lines of the log, and again while it is open and the training runs.
  async reads() {
    if (!this.log.open || this.reading) return;
    this.reading = true;
    try {
      const answer = await this.page.ask('log', {run: this.ticket});
      if (answer.log) this.lines.textContent = answer.log; else say(this.lines, answer.problem || this.page.t('log_empty'));
      this.lines.scrollTop = this.lines.scrollHeight;
    } catch (error) { /* the page says that the app is away */ }
    this.reading = false;
  }

  // The first click asks, the second deletes.
  async deletes() {
    if (!this.sure) {
      this.sure = setTimeout(() => { this.sure = null; say(this.remove, this.page.t('delete')); }, 4000);
      say(this.remove, this.page.t('delete_sure'));
    } else await this.page.act('delete', {run: this.ticket}, this.problem);
  }

  show(run) {
    const page = this.page, progress = run.progress || {}, state = run.state;
    const family = page.families.find(([name]) => name === run.family);
    const words = {waiting: () => run.place ? page.t('s_waiting', {place: run.place}) : page.t('s_next'), paused: () => page.t('s_paused'), done: () => page.t('s_done'),
      failed: () => run.reason ? run.reason.map(text => page.safe(text)) : page.t(page.spec.texts[run.key] ? run.key : 'crashed'),
      running: () => this.wish ? page.t(this.wish === 'pause' ? 's_pausing' : 's_finishing') : page.t(`w_${progress.what || 'starting'}`, {step: progress.step || 0, steps: progress.steps || '…'})};
    if (state !== 'running') this.wish = null;
    this.element.dataset.state = state;
    this.title.textContent = run.name;
    this.title.append(h('small', {}, family ? family[1] : run.family));
    say(this.status, (words[state] || words.waiting)());
    this.status.classList.toggle('train-problem', state === 'failed');
    const share = state === 'done' ? 1 : progress.what === 'evaluating' ? 1 : progress.steps ? (progress.step || 0) / progress.steps : 0;
    this.bar.style.width = `${100 * share}%`;
    const parts = [];
    if (progress.loss !== undefined) parts.push(page.t('loss', {loss: shortLoss(progress.loss)}));
    if (state === 'running' && progress.speed) parts.push(page.t('speed', {speed: progress.speed < 20 ? progress.speed : Math.round(progress.speed)}));
    if (state === 'running' && progress.left !== undefined) parts.push(page.t('left', {time: duration(progress.left)}));
    if (state === 'running' && progress.memory) parts.push(page.t('used_memory', {memory: progress.memory}));
    say(this.numbers, [0, 1].map(i => parts.map(pair => pair[i]).join(' · ')));
    if (run.sheet) { this.sheet.src = run.sheet; this.sheet.hidden = false; this.later.hidden = true; page.seen[this.ticket] = run.sheet_name; }
    const points = run.curve || [], mark = `${points.length} ${points.length ? points[points.length - 1] : ''} ${this.curve.clientWidth}`;
    if (points.length > 1 && (mark !== this.mark || this.dirty)) { this.mark = mark; this.dirty = false; drawCurve(this.curve, points); }
    this.curve.parentElement.parentElement.hidden = state === 'waiting' && !this.sheet.src;
    if (run.figures && run.figures.length && !this.figures.childElementCount) {
      this.figures.append(...run.figures.map(([name, title, value, unit, n]) => h('div', {title: filled(page.spec.texts.held_out, {n})[0]}, h('dt', {}, title), h('dd', {}, `${Number(value).toPrecision(3)} ${unit}`))));
    }
    const shown = {pause: ['running', 'waiting'], resume: ['paused', 'failed'], finish: ['running'], download: ['done']};
    for (const [what, button] of Object.entries(this.buttons)) {
      button.hidden = !shown[what].includes(state) || (what === 'finish' && progress.what !== 'training');
      button.disabled = Boolean(this.wish);
    }
    this.publish.hidden = state !== 'done';
    this.log.hidden = state === 'waiting';
    if (state === 'running') this.reads();
    if (run.checkpoint && !this.links.childElementCount) {
      for (const task of run.tasks) {
        const pair = page.spec.tasks[task];
        this.links.append(h('a', {class: 'train-open', 'data-task': task, href: `${page.spec.root}/?own=${encodeURIComponent(run.checkpoint)}&task=${task}`, text: page.t('open_in').map((text, i) => text.replace('{task}', pair[i]))}));
      }
    }
  }
}

// Take back what a place said.
function hush(place) {
  place.replaceChildren();
  place.said = '';
  place.classList.remove('train-problem');
}

function shortLoss(loss) { return Math.abs(loss) >= 100 ? loss.toFixed(0) : loss.toPrecision(3); }

function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

// Draw the loss over the steps. The lowest and the highest value stand at the side.
function drawCurve(canvas, points) {
  const width = canvas.clientWidth || 320, height = 120, scale = window.devicePixelRatio || 1, style = getComputedStyle(canvas);
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext('2d');
  pen.scale(scale, scale);
  const losses = points.map(([, loss]) => loss), sorted = [...losses].sort((a, b) => a - b);
  const low = sorted[0], high = Math.max(sorted[Math.floor(sorted.length * 0.97)], low + 1e-9), last = points[points.length - 1][0];
  const x = step => 44 + (width - 52) * step / last, y = loss => 8 + (height - 26) * (1 - (Math.min(loss, high) - low) / (high - low));
  pen.font = '11px system-ui, sans-serif';
  pen.fillStyle = pen.strokeStyle = style.getPropertyValue('--train-ink').trim();
  pen.textAlign = 'right';
  pen.fillText(shortLoss(high), 38, 13);
  pen.fillText(shortLoss(low), 38, height - 16);
  pen.fillText(String(last), width - 8, height - 3);
  pen.strokeStyle = style.getPropertyValue('--train-line').trim();
  pen.lineWidth = 1.75;
  pen.lineJoin = 'round';
  pen.beginPath();
  points.forEach(([step, loss], i) => i ? pen.lineTo(x(step), y(loss)) : pen.moveTo(x(step), y(loss)));
  pen.stroke();
}
