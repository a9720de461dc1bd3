// What a surrogate of a given fidelity costs, at a price per query: the same interpolation as the tables'.

function queriesFor(points, fidelity, better) {
  const sign = better === 'higher' ? 1 : -1;
  const wanted = sign * fidelity;
  let best = -Infinity;
  let before = 0;
  for (const [budget, mean] of points) {
    const value = sign * mean;
    if (value >= wanted) {
      if (best === -Infinity) return [budget, 'at most '];
      const part = (wanted - best) / (value - best);
      return [Math.exp(Math.log(before) + part * (Math.log(budget) - Math.log(before))), ''];
    }
    if (value > best) [best, before] = [value, budget];
  }
  return [points[points.length - 1][0], 'more than '];
}

class Calculator {
  constructor(root, data) {
    this.root = root;
    this.data = data;
    this.part = (name) => root.querySelector(`[data-part=${name}]`);
    this.part('curve').replaceChildren(...data.curves.map(({ name, label }) => new Option(`${name}: ${label}`)));
    this.part('price').value = data.price;
    this.part('curve').addEventListener('change', () => this.choose());
    for (const name of ['price', 'wanted']) this.part(name).addEventListener('input', () => this.show());
    this.choose();
    root.hidden = false;
  }

  choose() {
    this.curve = this.data.curves[this.part('curve').selectedIndex];
    this.part('wanted').value = this.curve.wanted;
    this.part('wanted').step = 10 ** -this.curve.digits;
    this.show();
  }

  show() {
    const price = this.part('price').valueAsNumber;
    const wanted = this.part('wanted').valueAsNumber;
    const rows = this.curve.models.map(({ name, points }) => {
      const row = document.createElement('div');
      const title = document.createElement('dt');
      const value = document.createElement('dd');
      const rest = document.createElement('dd');
      title.textContent = name;
      value.className = 'value';
      rest.className = 'rest';
      if (price >= 0 && Number.isFinite(wanted)) {
        const [queries, how] = queriesFor(points, wanted, this.curve.better);
        const count = Math.round(queries);
        const cost = (count * price).toLocaleString('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 });
        value.textContent = `${how}${cost}`;
        rest.textContent = `${how}${count.toLocaleString('en')} queries`;
      } else {
        value.textContent = '–';
        rest.textContent = 'a price of 0 or more, and a number for the fidelity';
      }
      row.append(title, value, rest);
      return row;
    });
    this.part('costs').replaceChildren(...rows);
  }
}
