// The image browser: which image, which two answers, as they are or as maps of what differs, and the scores beside it.

class Browser {
  constructor(root, data) {
    this.root = root;
    this.data = data;
    this.pictures = new Pictures();
    this.job = null; // what is to be shown: the picture, the choices, and what was computed for them
    this.busy = null;
    this.find = (name) => root.querySelector(`[data-part=${name}]`);
    this.stage = new Stage(this.find('stage'), {
      onView: (view, scale) => this.viewChanged(scale),
      onPoint: (point) => this.tellPoint(point),
    });
    this.state = { result: 0, set: 0, image: 0, left: '', right: '', view: 'images', reference: '' };
    this.fillSelect('result', data.results.map((one) => one.name));
    this.listen();
    this.chooseResult(0);
  }

  get result() { return this.data.results[this.state.result]; }

  get testSet() { return this.result.sets[this.state.set]; }

  get picture() { return this.testSet.pictures[this.state.image]; }

  title(key) { return this.result.titles[key] ?? key; }

  fillSelect(part, titles, values = null) {
    const options = titles.map((title, index) => new Option(title, values ? values[index] : String(index)));
    this.find(part).replaceChildren(...options);
    this.find(part).closest('label').hidden = titles.length < 2 && (part === 'result' || part === 'set');
  }

  listen() {
    const on = (part, type, act) => this.find(part).addEventListener(type, act);
    on('result', 'change', (event) => this.chooseResult(Number(event.target.value)));
    on('set', 'change', (event) => this.chooseSet(Number(event.target.value)));
    on('search', 'input', () => this.listImages());
    on('image', 'change', (event) => this.chooseImage(Number(event.target.value)));
    on('previous', 'click', () => this.step(-1));
    on('next', 'click', () => this.step(1));
    on('left', 'change', (event) => this.chooseSide('left', event.target.value));
    on('right', 'change', (event) => this.chooseSide('right', event.target.value));
    on('swap', 'click', () => this.swap());
    on('reference', 'change', (event) => this.change({ reference: event.target.value }));
    for (const part of ['span', 'level', 'band']) on(part, 'change', () => this.change({}));
    for (const radio of this.root.querySelectorAll('input[name=view]')) {
      radio.addEventListener('change', () => this.change({ view: radio.value }));
    }
    on('closer', 'click', () => this.stage.zoomBy(1.5));
    on('farther', 'click', () => this.stage.zoomBy(1 / 1.5));
    on('fit', 'click', () => this.stage.fit());
    on('actual', 'click', () => this.stage.actualSize());
    on('beside', 'click', () => this.toggleLayout());
    on('full', 'click', () => this.toggleFullScreen());
    document.addEventListener('keydown', (event) => this.press(event));
    new ResizeObserver(() => this.drawStrip()).observe(this.find('strip'));
  }

  chooseResult(index) {
    this.state.result = index;
    const { sets } = this.result;
    this.fillSelect('set', sets.map((one) => one.name));
    this.chooseSet(Math.max(0, sets.findIndex((one) => one.pictures.length)));
  }

  chooseSet(index) {
    this.state.set = index;
    this.find('set').value = String(index);
    this.state.image = 0;
    const { pictures, count } = this.testSet;
    this.find('shown').hidden = this.data.results.length === 1 && this.result.sets.length === 1; // said above
    this.find('shown').textContent = pictures.length < count
      ? `${pictures.length} of this set's ${count} images are in this page.`
      : `All ${count} images of this set are in this page.`;
    this.find('search').value = '';
    this.find('empty').hidden = pictures.length > 0;
    this.find('viewer').hidden = pictures.length === 0;
    if (pictures.length) {
      this.chooseDefaults();
      this.listImages();
    }
  }

  /** Keep the two sides where the set has them; else the victim, or the truth, and the first surrogate. */
  chooseDefaults() {
    const keys = Object.keys(this.picture.blobs);
    const titles = keys.map((key) => this.title(key));
    const victim = this.result.models.find((one) => one.role === 'victim');
    const references = [`model:${victim?.name}`, 'truth'].filter((key) => keys.includes(key));
    const surrogate = this.result.models.find((one) => one.role === 'surrogate' && keys.includes(`model:${one.name}`));
    const models = keys.filter((key) => key.startsWith('model:') && !references.includes(key));
    const right = surrogate ? `model:${surrogate.name}` : models[0] ?? keys.at(-1);
    const left = references.find((key) => key !== right) ?? keys.find((key) => key !== right) ?? right;
    for (const [side, value] of [['left', left], ['right', right]]) {
      this.fillSelect(side, titles, keys);
      if (!keys.includes(this.state[side])) this.state[side] = value;
      this.find(side).value = this.state[side];
    }
    if (!references.includes(this.state.reference)) this.state.reference = references[0] ?? '';
    this.fillSelect('reference', references.map((key) => this.title(key)), references);
    this.find('reference').value = this.state.reference;
    for (const radio of this.root.querySelectorAll('input[name=view]')) {
      radio.disabled = radio.value !== 'images' && !references.length;
      if (radio.disabled && radio.checked) this.state.view = 'images';
      radio.checked = radio.value === this.state.view;
    }
  }

  /** The images whose names hold what is searched for. */
  listImages() {
    const wanted = this.find('search').value.trim().toLowerCase();
    const names = this.testSet.pictures.map((one) => one.image);
    this.listed = names.map((_, index) => index).filter((index) => names[index].toLowerCase().includes(wanted));
    this.fillSelect('image', this.listed.map((index) => names[index]), this.listed.map(String));
    this.find('image').disabled = this.listed.length === 0;
    if (this.listed.length && !this.listed.includes(this.state.image)) this.state.image = this.listed[0];
    this.change({});
  }

  chooseImage(index) {
    this.change({ image: index });
  }

  step(by) {
    const at = this.listed.indexOf(this.state.image);
    const to = this.listed[at + by];
    if (to !== undefined) this.change({ image: to });
  }

  chooseSide(side, key) {
    if (!(key in this.picture.blobs)) return;
    this.find(side).value = key;
    this.change({ [side]: key });
  }

  swap() {
    const { left, right } = this.state;
    this.find('left').value = right;
    this.find('right').value = left;
    this.change({ left: right, right: left });
  }

  toggleLayout() {
    this.stage.setLayout(!this.stage.sideBySide);
    this.find('beside').setAttribute('aria-pressed', String(this.stage.sideBySide));
  }

  toggleFullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.find('frame').requestFullscreen().catch(() => {});
  }

  press(event) {
    const { target, key } = event;
    if (event.ctrlKey || event.altKey || event.metaKey || this.find('viewer').hidden) return;
    if (target.closest('input, select, textarea, [role=slider], .scroll, details')) return;
    const box = this.root.getBoundingClientRect();
    if (box.bottom < 0 || box.top > innerHeight) return;
    const pan = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[key];
    const digit = /^Digit([1-9])$/.exec(event.code);
    if (pan && event.shiftKey) this.stage.panBy(...pan);
    else if (key === 'ArrowLeft') this.step(-1);
    else if (key === 'ArrowRight') this.step(1);
    else if (key === '+' || key === '=') this.stage.zoomBy(1.5);
    else if (key === '-') this.stage.zoomBy(1 / 1.5);
    else if (key === '0') this.stage.fit();
    else if (key === 'f') this.toggleFullScreen();
    else if (key === 's') this.toggleLayout();
    else if (key === 'x') this.swap();
    else if (key === 'v') this.nextView();
    else if (digit) this.chooseNumber(Number(digit[1]), event.shiftKey ? 'left' : 'right');
    else return;
    event.preventDefault();
  }

  chooseNumber(number, side) {
    const key = Object.keys(this.picture.blobs)[number - 1];
    if (key) this.chooseSide(side, key);
  }

  nextView() {
    const radios = [...this.root.querySelectorAll('input[name=view]:not(:disabled)')];
    const next = radios[(radios.findIndex((one) => one.checked) + 1) % radios.length];
    next.checked = true;
    this.change({ view: next.value });
  }

  /** Take up a change and show it; while an image is being decoded, only the last change counts. */
  change(change) {
    Object.assign(this.state, change);
    const { picture, state } = this;
    this.job = {
      picture,
      ...state,
      span: Number(this.find('span').value),
      level: Number(this.find('level').value),
      band: this.find('band').value,
      pixels: this.job?.picture === picture ? this.job.pixels : new Map(),
      maps: new Map(),
      bitmaps: new Map(),
    };
    this.labels();
    this.scores();
    this.busy ??= this.work().finally(() => { this.busy = null; });
    return this.busy;
  }

  /** Keys held down change the image faster than it is decoded: the last one is shown. */
  async work() {
    let job;
    do {
      job = this.job;
      await this.show(job);
    } while (job !== this.job);
  }

  async show(job) {
    const { picture, left, right } = job;
    const images = [await this.image(job, left), await this.image(job, right)];
    this.stage.show(...images, picture);
    this.keep(job);
    if (job !== this.job) return;
    this.root.dataset.showing = picture.image;
    await this.fillStrip(job);
    if (job !== this.job) return;
    for (const neighbour of this.neighbours()) {
      for (const key of [left, right]) this.pictures.get(neighbour.blobs[key] ?? neighbour.blobs.query);
    }
    this.root.dataset.settled = picture.image;
  }

  neighbours() {
    const at = this.listed.indexOf(this.state.image);
    return [at - 1, at + 1].filter((one) => one in this.listed).map((one) => this.testSet.pictures[this.listed[one]]);
  }

  /** Let go of everything but the image that is shown and what is compared in its neighbours. */
  keep({ picture, left, right }) {
    const near = this.neighbours().flatMap(({ blobs }) => [blobs[left] ?? blobs.query, blobs[right] ?? blobs.query]);
    this.pictures.keep(new Set([...Object.values(picture.blobs), ...near]));
    if (this.strip?.picture !== picture) this.strip = null;
  }

  /** An answer as it is, or as a map of what differs, ready to be drawn. */
  async image(job, key) {
    const { picture, reference } = job;
    for (const one of this.isMap(job, key) ? [key, reference] : [key]) {
      job.bitmaps.set(one, await this.pictures.get(picture.blobs[one]));
    }
    const whole = { x: 0, y: 0, width: picture.width, height: picture.height };
    return this.isMap(job, key) ? this.map(job, key).image : { source: job.bitmaps.get(key), ...whole };
  }

  /** What the others are compared with is shown as it is: its own map would be empty. */
  isMap({ view, reference }, key) {
    return view !== 'images' && key !== reference;
  }

  map(job, key) {
    if (!job.maps.has(key)) {
      job.maps.set(key, this.compute(job, this.read(job, key), this.read(job, job.reference)));
    }
    return job.maps.get(key);
  }

  compute({ picture, view, level, band, span }, first, second) {
    const { width, height } = picture;
    const found = view === 'error'
      ? { values: absoluteError(first, second), width, height, step: 1, offset: 0 }
      : bandMap(first, second, width, height, { level, band, wavelet: this.data.wavelet });
    const source = drawable(colour(found.values, span, this.data.stops), found.width, found.height);
    const { step, offset } = found;
    const image = { source, x: offset, y: offset, width: found.width * step, height: found.height * step };
    return { ...found, image };
  }

  /** Pixels of a decoded image in the size of the answers; those that are compared stay at hand. */
  read(job, key) {
    const kept = job.pixels.get(key);
    if (kept) return kept;
    const bitmap = job.bitmaps.get(key);
    const pixels = readPixels(bitmap, job.picture.width / bitmap.width);
    if ([job.left, job.right, job.reference].includes(key)) job.pixels.set(key, pixels);
    return pixels;
  }

  labels() {
    const { state, picture } = this;
    const maps = { error: 'error of ', bands: 'bands of ' }[state.view] ?? '';
    for (const side of ['left', 'right']) {
      const prefix = this.isMap(state, state[side]) ? maps : '';
      this.find(`label-${side}`).textContent = prefix + this.title(state[side]);
    }
    const at = this.listed.indexOf(state.image);
    this.find('image').value = String(state.image);
    this.find('place').textContent = this.listed.length ? `${at + 1} of ${this.listed.length}` : 'none found';
    this.find('previous').disabled = at <= 0;
    this.find('next').disabled = at < 0 || at >= this.listed.length - 1;
    const what = `${picture.image}, ${this.find('place').textContent}: ${this.find('label-left').textContent} on the `
      + `left, ${this.find('label-right').textContent} on the right`;
    this.find('live').textContent = what;
    this.stage.canvas.setAttribute('aria-label', what);
    this.find('map-options').hidden = state.view === 'images';
    this.find('bar').hidden = state.view === 'images';
    this.find('band-options').hidden = state.view !== 'bands';
    const { span } = this.job;
    this.root.querySelectorAll('[data-share]').forEach((tick) => {
      tick.textContent = String(span * Number(tick.dataset.share));
    });
    const kind = state.view === 'bands' ? 'size of the db3 detail coefficients of the difference on Y'
      : 'mean absolute difference over R, G and B';
    this.find('bar-title').textContent = `${kind}, to the ${this.title(state.reference)}; grey levels`;
    this.tellPoint(null);
  }

  /** Scores of this image: a row for each metric, a column for each model. */
  scores() {
    const { image } = this.picture;
    const { scores, name } = this.testSet;
    this.find('scores-title').textContent = `${name}, ${image}`;
    const parts = [];
    for (const [kind, title] of Object.entries(this.data.kinds)) {
      const models = this.result.models.map((one) => one.name).filter((one) => scores[kind][one]?.images[image]);
      if (models.length) parts.push(this.scoreTable(title, models, scores[kind], image));
    }
    this.find('scores').replaceChildren(...parts);
  }

  scoreTable(title, models, scores, image) {
    const table = document.createElement('table');
    table.createCaption().textContent = title;
    const head = table.createTHead().insertRow();
    const cell = (row, text, scope) => {
      const one = document.createElement(scope ? 'th' : 'td');
      if (scope) one.scope = scope;
      one.textContent = text;
      return row.appendChild(one);
    };
    cell(head, 'metric', 'col');
    for (const model of models) cell(head, model, 'col').classList.toggle('chosen', this.isChosen(model));
    const metrics = Object.keys(this.result.metrics).filter((one) => models.some((model) => one in scores[model].images[image]));
    const body = table.createTBody();
    for (const metric of metrics) {
      const { title: name, unit } = this.result.metrics[metric];
      const row = body.insertRow();
      cell(row, unit ? `${name}, ${unit}` : name, 'row');
      for (const model of models) {
        cell(row, this.number(scores[model], image, metric)).classList.toggle('chosen', this.isChosen(model));
      }
    }
    return table;
  }

  isChosen(model) {
    return [this.state.left, this.state.right].includes(`model:${model}`);
  }

  /** A score as text; in the file, null stands for an infinite one (equal images) and for one that is not defined. */
  number(scores, image, metric) {
    const value = scores.images[image][metric];
    if (value === undefined) return '';
    if (value !== null) return value.toFixed(this.result.metrics[metric].digits);
    if (!scores.undefined[metric]) return '\u221e';
    return scores.identical[metric] ? '\u221e or n/a' : 'n/a';
  }

  /** Every answer at the same place and zoom. */
  async fillStrip(job) {
    const { picture, left, right, view } = job;
    const keys = Object.keys(picture.blobs);
    const strip = this.find('strip');
    if (strip.children.length !== keys.length || keys.some((key, i) => strip.children[i].dataset.key !== key)) {
      strip.replaceChildren(...keys.map((key, index) => this.stripItem(key, index)));
    }
    for (const [index, key] of keys.entries()) {
      const chosen = { [left]: 'left', [right]: 'right' }[key] ?? '';
      strip.children[index].dataset.chosen = left === right && chosen ? 'both' : chosen;
      strip.children[index].querySelector('button').setAttribute('aria-pressed', String(Boolean(chosen)));
    }
    const images = [];
    for (const key of keys) {
      images.push(await this.image(job, key));
      // A map of a large image takes a while, and the next key press must not wait for all of them.
      if (view !== 'images') await new Promise((resume) => { setTimeout(resume); });
      if (job !== this.job) return;
    }
    this.strip = { picture, images };
    this.drawStrip();
  }

  stripItem(key, index) {
    const item = document.createElement('li');
    item.dataset.key = key;
    const button = document.createElement('button');
    button.type = 'button';
    button.title = `Show on the right (${index + 1}); with Shift, on the left`;
    const name = document.createElement('span');
    name.textContent = this.title(key);
    button.append(document.createElement('canvas'), name);
    button.addEventListener('click', (event) => this.chooseSide(event.shiftKey ? 'left' : 'right', key));
    item.append(button);
    return item;
  }

  drawStrip() {
    for (const [index, image] of (this.strip?.images ?? []).entries()) {
      const canvas = this.find('strip').children[index].querySelector('canvas');
      const pane = fitCanvas(canvas);
      const context = canvas.getContext('2d');
      context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
      context.clearRect(0, 0, pane.width, pane.height);
      paint(context, image, this.stage.view, pane, this.strip.picture);
    }
  }

  viewChanged(scale) {
    const percent = scale * devicePixelRatio * 100;
    this.find('zoom').textContent = `${percent >= 100 ? Math.round(percent) : percent.toFixed(1)} %`;
    if (this.stripWaiting) return;
    this.stripWaiting = true;
    requestAnimationFrame(() => {
      this.stripWaiting = false;
      this.drawStrip();
    });
  }

  /** What the pixel under the pointer is on both sides. */
  tellPoint(point) {
    const { job } = this;
    const readout = this.find('readout');
    const sides = [job?.left, job?.right];
    if (!point || !sides.every((key) => job?.bitmaps.has(key) || job?.maps.has(key))) {
      readout.textContent = readout.dataset.idle;
      return;
    }
    const { column, row } = point;
    const values = sides.map((key) => {
      if (!this.isMap(job, key)) {
        const at = 4 * (row * job.picture.width + column);
        return `${this.title(key)} ${this.read(job, key).slice(at, at + 3).join(' ')}`;
      }
      const map = this.map(job, key);
      const [i, j] = [column, row].map((one) => Math.floor((one - map.offset) / map.step));
      return `${this.title(key)} ${map.values[j * map.width + i].toFixed(2)}`;
    });
    readout.textContent = `x ${column}, y ${row}: ${values.join(', ')}`;
  }
}
