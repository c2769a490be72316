// Tables: a click on a heading sorts, a click on a row chooses.

function sortable(table) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const text = row.cells[column].textContent.replace('−', '-');
    const number = parseFloat(text);
    return text === '–' ? null : Number.isNaN(number) ? text : number;
  };
  const sort = column => {
    const head = heads[column], up = head.getAttribute('aria-sort') !== 'ascending';
    heads.forEach(h => h.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const rows = [...body.rows].map(row => [value(row, column), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);  // missing ones last
      const order = typeof a === 'string' || typeof b === 'string' ?
        String(a).localeCompare(String(b)) : a - b;
      return up ? order : -order;
    });
    body.append(...rows.map(([, row]) => row));
  };
  heads.forEach((head, column) => {
    head.tabIndex = 0;
    head.addEventListener('click', () => sort(column));
    head.addEventListener('keydown', e => { if (e.key === 'Enter') sort(column); });
  });
}

function choosable(table, then) {
  const choose = event => {
    const row = event.target.closest('tbody tr');
    if (row && (event.type === 'click' || event.key === 'Enter')) then(Number(row.dataset.id));
  };
  for (const row of table.tBodies[0].rows) row.tabIndex = 0;
  table.addEventListener('click', choose);
  table.addEventListener('keydown', choose);
}

function mark(table, id, bring) {
  if (!table) return;
  for (const row of table.querySelectorAll('tr.chosen')) row.classList.remove('chosen');
  const row = id === null ? null : table.querySelector(`tr[data-id="${id}"]`);
  if (!row) return;
  row.classList.add('chosen');
  const box = table.closest('.scroll');
  if (bring) box.scrollTop = row.offsetTop - box.clientHeight / 2;
}
