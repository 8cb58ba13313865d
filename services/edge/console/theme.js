// Runs before the first paint, so that a chosen theme never flashes. Not a module.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem('mediamesh.theme'); } catch { /* storage is off */ }
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
})();
