// The camera of the page Check. A frame a second goes to the server, the next one after the answer to the last.

const EVERY_MS = 1000, KEPT = 12;

class Camera {
  constructor(element, props, look) {
    Object.assign(this, {element, props, look, spec: JSON.parse(props.spec), stream: null, high: null, kept: 0, for: ''});
    element.innerHTML = '';
    element.className = 'camera';
    this.button = h('button', {type: 'button', id: 'check-camera-button', onclick: () => this.stream ? this.stop() : this.start()});
    this.said = h('p', {class: 'camera-said', id: 'check-camera-said', role: 'status'});
    this.facts = h('p', {class: 'camera-facts', id: 'check-camera-facts'});
    this.video = h('video', {muted: true, playsinline: true, hidden: true});
    this.video.muted = true;
    this.shown = h('img', {id: 'check-camera-shown', hidden: true});
    this.strange = h('div', {class: 'camera-strange', id: 'check-camera-strange', hidden: true});
    this.strip = h('div', {class: 'camera-strip'});
    this.strange.append(h('p', {text: this.spec.texts.camera_kept}), this.strip);
    element.append(h('p', {class: 'camera-help', text: this.spec.texts.camera_help}), this.button, this.video, this.said, this.shown, this.facts, this.strange);
    labelled(this.shown, this.spec.texts.camera_frame);
    new MutationObserver(() => translate(element)).observe(document.querySelector('#language-style') || document.body, {childList: true, subtree: true, characterData: true});
    this.named();
  }

  named() { say(this.button, this.spec.texts[this.stream ? 'camera_stop' : 'camera_start']); }

  async start() {
    say(this.said, ['', '']);
    this.button.disabled = true;
    try {
      if (!navigator.mediaDevices || !navigator.mediaDevices.getUserMedia) throw Object.assign(new Error(), {name: 'Insecure'});
      this.stream = await navigator.mediaDevices.getUserMedia({video: {width: {ideal: 640}, facingMode: 'environment'}, audio: false});
      this.video.srcObject = this.stream;
      await this.video.play();
    } catch (error) {
      this.off();
      const why = {Insecure: 'camera_insecure', NotAllowedError: 'camera_denied'}[error.name] || 'camera_none';
      say(this.said, this.spec.texts[why]);
    }
    this.button.disabled = false;
    this.named();
    const stream = this.stream;
    while (stream && this.stream === stream) {
      const begun = performance.now();
      await this.frame(stream);
      await new Promise(done => setTimeout(done, Math.max(0, EVERY_MS - (performance.now() - begun))));
      if (!this.element.isConnected) this.stop();
    }
  }

  stop() { this.off(); this.named(); }

  off() {
    if (this.stream) this.stream.getTracks().forEach(track => track.stop());
    this.stream = this.video.srcObject = null;
  }

  // Send what the camera sees now, and show what is found.
  async frame(stream) {
    const {videoWidth: width, videoHeight: height} = this.video;
    if (!width) return;
    const scale = Math.min(1, this.spec.side / Math.max(width, height)), canvas = document.createElement('canvas');
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.getContext('2d').drawImage(this.video, 0, 0, canvas.width, canvas.height);
    const asked = JSON.parse(this.props.asked);
    if (asked.checkpoint !== this.for) Object.assign(this, {for: asked.checkpoint, high: null});
    let answer;
    try {
      answer = await this.look({...asked, high: this.high, picture: canvas.toDataURL('image/jpeg', 0.85)});
    } catch (error) { answer = {problem: this.spec.texts.camera_offline}; }
    if (this.stream !== stream) return;
    if (answer.busy) say(this.said, this.spec.texts.camera_busy);
    else if (answer.problem) say(this.said, answer.problem.map(text => text.replace(/&/g, '&amp;').replace(/</g, '&lt;')));
    else this.found(answer);
  }

  found(answer) {
    this.high = answer.high;
    this.shown.src = answer.overlay;
    this.shown.hidden = false;
    this.element.dataset.verdict = answer.verdict || '';
    say(this.said, answer.verdict ? this.spec.texts[`verdict_${answer.verdict}`] : this.spec.texts.camera_unknown);
    say(this.facts, filled(this.spec.texts.camera_facts, {score: answer.score.toPrecision(4), seconds: answer.seconds}));
    if (answer.verdict !== 'strange') return;
    const time = new Date().toLocaleTimeString();
    this.strip.prepend(h('figure', {}, h('img', {src: answer.overlay, alt: `${time}, ${answer.score.toPrecision(4)}`}),
      h('figcaption', {}, `${time} · ${answer.score.toPrecision(4)}`)));
    while (this.strip.children.length > KEPT) this.strip.lastChild.remove();
    this.strange.hidden = false;
  }
}
