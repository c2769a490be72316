// The page: what is chosen is shown in the tree, the structure, the scatter and the tables at once.

const data = JSON.parse(document.getElementById('data').textContent);
const by = id => document.getElementById(id);
const config = {responsive: true, displaylogo: false,
  modeBarButtonsToRemove: ['select2d', 'lasso2d']};
if (innerWidth < 640) config.displayModeBar = false;
const state = {minimum: null, link: null, frame: 0, timer: null, chosen: new Set()};

const place = new Map(data.minima.id.map((id, k) => [id, k]));
const linkPlace = new Map(data.links.id.map((id, k) => [id, k]));
const atoms = data.molecule.atoms.length;
const view = new StructureView(by('structure'), data.molecule);
const minimaXyz = decoded(data.structures.xyz, Float32Array);
const pathXyz = decoded(data.paths.xyz, Int16Array);
const structureOf = new Map(data.structures.id.map((id, k) => [id, k]));
const pathOf = new Map(data.paths.id.map((id, k) => [id, k]));

const signed = text => String(text).replace('-', '−');
const inUnit = (value, digits = 2) => `${signed(value.toFixed(digits))} ${data.unit}`;

function structure(id) {
  const k = structureOf.get(id);
  return k === undefined ? null : minimaXyz.subarray(3 * atoms * k, 3 * atoms * (k + 1));
}

function frameOf(link, at) {  // between two frames in proportion
  const start = pathOf.get(link) * data.paths.frames, low = Math.floor(at);
  const high = Math.min(low + 1, data.paths.frames - 1), share = at - low, n = 3 * atoms;
  return Float32Array.from({length: n}, (_, k) => data.paths.step * (
    (1 - share) * pathXyz[(start + low) * n + k] + share * pathXyz[(start + high) * n + k]));
}

function facts(rows) {
  by('facts').replaceChildren(...rows.flatMap(([name, text]) => {
    const [dt, dd] = [document.createElement('dt'), document.createElement('dd')];
    dt.textContent = name;
    dd.textContent = text;
    return [dt, dd];
  }));
}

function linkButtons(title, links) {
  by('aroundtitle').textContent = title;
  by('around').hidden = links.length === 0;
  by('links').replaceChildren(...links.map(id => {
    const k = linkPlace.get(id), [a, b] = data.links.ends[k], button = document.createElement('button');
    const verified = data.links.verified[k];
    button.type = 'button';
    button.dataset.link = id;
    button.textContent = `${a} – ${b}, ${inUnit(data.links.energy[k])}`;
    if (!verified) button.classList.add('estimate');
    button.title = (verified ? 'transition state ' : 'estimate ') + id;
    button.addEventListener('click', () => showPath(id));
    return button;
  }));
}

function offer(x, name, comment) {
  by('saving').hidden = !x;
  if (!x) return;
  const url = 'data:chemical/x-xyz;charset=utf-8,' + encodeURIComponent(view.xyz(x, comment));
  by('download').setAttribute('href', url);
  by('download').setAttribute('download', name);
}

function stop() {
  clearInterval(state.timer);
  state.timer = null;
  by('play').textContent = 'Play';
}

function select(id, bring = true) {
  const k = place.get(id);
  if (k === undefined) {
    by('heading').textContent = `There is no minimum ${id}`;
    return false;
  }
  stop();
  Object.assign(state, {minimum: id, link: null, frame: 0});
  by('player').hidden = true;
  by('heading').textContent = `Minimum ${id}`;
  const x = structure(id);
  by('structure').hidden = !x;
  if (x) view.show(x, StructureView.reach(x));
  by('story').textContent = x ? '' : 'This page holds no structure of it.';
  const free = data.drawn[id];
  facts([['Energy', inUnit(data.minima.energy[k])],
    ['absolute', `${signed(data.minima.absolute[k].toFixed(6))} ${data.energyUnit}`],
    ...(free === undefined ? [] : [[data.quantity, inUnit(free)]]),
    ['Visits', data.minima.visits[k]],
    ...data.observables.map(o => [o.title, o.values[k] === null ? '–' :
      signed(Number(o.values[k].toFixed(o.period ? 1 : 3)))])]);
  offer(x, `minimum_${id}.xyz`, `${data.name} minimum ${id}, energy ` +
    `${data.minima.absolute[k]} ${data.energyUnit}, lengths in ${data.molecule.length}`);
  linkButtons('Paths from here', data.links.id.filter((_, n) => data.links.ends[n].includes(id)));
  highlight(bring);
  return true;
}

function showJunction(number) {
  const links = data.junctions[number];
  if (!links.length) return;
  showPath(links[0]);
  linkButtons('Links that meet at this junction', links);
  highlight(false);
}

function showPath(id) {
  const k = linkPlace.get(id);
  if (k === undefined) return false;
  stop();
  Object.assign(state, {minimum: null, link: id, frame: 0});
  const [a, b] = data.links.ends[k], top = data.links.energy[k];
  const kind = data.links.verified[k] ? 'transition state' : 'estimate';
  by('heading').textContent = `${a} → ${kind} ${id} → ${b}`;
  const barrier = end => top - data.minima.energy[place.get(end)];
  facts([[`Energy of the ${kind}`, inUnit(top)], [`Barrier from ${a}`, inUnit(barrier(a))],
    [`Barrier from ${b}`, inUnit(barrier(b))]]);
  const has = pathOf.has(id);
  by('structure').hidden = by('player').hidden = !has;
  const rest = data.links.verified[k] ? '' : ' An estimate is an upper bound of the barrier.';
  by('story').textContent = has ? 'Between the three structures the frames are interpolated.' + rest :
    'This page holds no path of it.' + rest;
  linkButtons(`Links of minima ${a} and ${b}`, data.links.id.filter((_, n) =>
    data.links.ends[n].includes(a) || data.links.ends[n].includes(b)));
  if (has) {
    by('frame').max = 4 * (data.paths.frames - 1);
    const ends = [0, (data.paths.frames - 1) / 2, data.paths.frames - 1];
    state.reach = StructureView.reach(...ends.map(at => frameOf(id, at)));
    const x = frameOf(id, ends[1]);
    offer(x, `link_${id}.xyz`, `${data.name} ${kind} ${id} of minima ${a} and ${b}, lengths in ` +
      data.molecule.length);
    showFrame(0);
  } else offer(null);
  highlight(true);
  return true;
}

function showFrame(step) {
  state.frame = step;
  by('frame').value = step;
  document.body.dataset.frame = step;
  const last = 4 * (data.paths.frames - 1), [a, b] = data.links.ends[linkPlace.get(state.link)];
  const middle = data.links.verified[linkPlace.get(state.link)] ? 'transition state' : 'estimate';
  const at = step === 0 ? `minimum ${a}` : step === last ? `minimum ${b}` :
    step === last / 2 ? middle : '';
  by('frame').setAttribute('aria-valuetext', at || `${Math.round(100 * step / last)} %`);
  return view.show(frameOf(state.link, step / 4), state.reach);
}

async function play() {
  if (state.timer) return stop();
  by('play').textContent = 'Stop';
  const last = Number(by('frame').max);
  if (state.frame >= last) state.frame = -1;
  let busy = false;
  state.timer = setInterval(async () => {
    if (busy) return;
    if (state.frame >= last) return stop();
    busy = true;
    await showFrame(state.frame + 1);
    busy = false;
  }, 60);
}

function highlight(bring) {
  const id = state.minimum, ends = state.link === null ? [] :
    data.links.ends[linkPlace.get(state.link)];
  document.body.dataset.minimum = id ?? '';
  document.body.dataset.link = state.link ?? '';
  state.chosen = new Set(id === null ? ends : [id]);
  for (const div of [by('tree'), by('scatter')]) ring(div);
  mark(document.querySelector('#minima-table'), id, bring);
  mark(document.querySelector('#links-table'), state.link, bring);
  for (const button of by('links').children)
    button.classList.toggle('playing', Number(button.dataset.link) === state.link);
}

// Rings around what is chosen, over the plot: a redraw of all branches would take too long.
function ring(div) {
  for (const old of div.querySelectorAll('.ring')) old.remove();
  const {xaxis, yaxis, _size} = div._fullLayout, trace = div.data.find(t => t.name === 'minima');
  trace.customdata.forEach((id, n) => {
    if (!state.chosen.has(id) || trace.x[n] === null || trace.y[n] === null) return;
    const x = xaxis.d2p(trace.x[n]), y = yaxis.d2p(trace.y[n]);
    if (!(x > -1 && x < _size.w + 1 && y > -1 && y < _size.h + 1)) return;
    const mark = document.createElement('div');
    mark.className = 'ring';
    mark.dataset.id = id;
    mark.style.left = `${_size.l + x}px`;
    mark.style.top = `${_size.t + y}px`;
    div.append(mark);
  });
}

function quantities() {
  const plain = [{title: `Energy (${data.unit})`, values: data.minima.energy, period: null},
    {title: 'Visits', values: data.minima.visits, period: null}];
  return [...data.observables, ...plain];
}

function drawScatter() {
  const all = quantities(), x = all[by('across').value], y = all[by('up').value];
  const ids = data.minima.id, some = data.minima.energy.length <= 40;
  const text = ids.map((id, k) => `<b>minimum ${id}</b><br>${inUnit(data.minima.energy[k])}`);
  const axis = q => ({title: {text: q.title, standoff: 6}, showline: true, mirror: true,
    linecolor: '#1a1a1a', gridcolor: '#ececec', zerolinecolor: '#cfcfcf', ticks: 'outside',
    ...(q.period ? {range: [-180, 180], tickvals: [-180, -120, -60, 0, 60, 120, 180]} : {})});
  const points = {type: 'scatter', mode: 'markers', name: 'minima', x: x.values, y: y.values,
    customdata: ids, hovertext: text, hoverinfo: 'text+x+y', marker: {size: some ? 11 : 7,
      color: data.minima.energy, colorscale: 'Cividis', line: {width: 0.7, color: '#1a1a1a'},
      colorbar: {title: {text: `Energy (${data.unit})`, side: 'right'}, thickness: 10,
        outlinewidth: 0}}};
  const narrow = innerWidth < 640;
  return Plotly.react(by('scatter'), [points], {template: 'none',
    height: narrow ? 380 : 520, margin: {l: 60, r: 10, t: narrow ? 12 : 34, b: 52}, xaxis: axis(x),
    yaxis: axis(y), showlegend: false, dragmode: narrow ? false : 'zoom', hovermode: 'closest',
    font: {family: 'Helvetica, Arial, sans-serif', size: 13, color: '#1a1a1a'}}, config);
}

async function begin(figure) {
  if (innerWidth < 640) {  // no buttons above the tree, and a finger scrolls the page
    figure.layout.dragmode = false;
    figure.layout.margin.t = 28;
  }
  const tree = await Plotly.newPlot('tree', figure.data, figure.layout, config);
  await fitLabels(tree);
  addEventListener('resize', () => setTimeout(() => fitLabels(tree), 250));
  const names = quantities();
  for (const menu of [by('across'), by('up')]) names.forEach((q, k) => {
    menu.append(new Option(q.title, k));
  });
  by('across').value = 0;
  by('up').value = names.length > 3 && names[1].period === names[0].period ? 1 : names.length - 2;
  const second = names.findIndex(q => q.title.startsWith('ψ'));
  if (second > 0) by('up').value = second;
  await drawScatter();
  for (const div of [tree, by('scatter')]) div.on('plotly_afterplot', () => ring(div));
  for (const menu of [by('across'), by('up')])
    menu.addEventListener('change', drawScatter);
  const found = what => 'minimum' in what ? select(what.minimum) : showJunction(what.junction);
  onClick(tree, data.strokes, found);
  by('scatter').on('plotly_click', event => select(event.points[0].customdata));
  by('search').addEventListener('submit', event => {
    event.preventDefault();
    select(Number(by('wanted').value));
  });
  by('play').addEventListener('click', play);
  by('frame').addEventListener('input', () => { stop(); showFrame(Number(by('frame').value)); });
  for (const [name, then] of [['minima', id => select(id, false)], ['links', showPath]]) {
    const table = by(`${name}-table`);
    if (!table) continue;
    sortable(table);
    choosable(table, then);
  }
  by('notices').textContent = data.notices.join(' ');
  if (data.first !== null) select(data.first, false);
  document.body.dataset.ready = 'yes';
}
