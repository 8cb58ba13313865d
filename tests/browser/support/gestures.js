// Dropping and pasting files, as the browser would deliver them.

/** Drops files [{name, type, bytes}] on a zone of the overlay: "upload" or "search". */
export async function dropOn(page, zone, files) {
  const plain = files.map(({ name, type, bytes }) => ({ name, type, base64: bytes.toString('base64') }));
  await page.evaluate(async ({ zone, plain }) => {
    const transfer = new DataTransfer();
    for (const { name, type, base64 } of plain) {
      transfer.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name, { type }));
    }
    const fire = (target, type) => target.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: transfer }));
    fire(document.querySelector('main'), 'dragenter');
    const target = document.querySelector(`#drop [data-zone=${zone}]`);
    if (!target || !target.checkVisibility()) throw new Error(`dragging files must show the ${zone} zone`);
    fire(target, 'dragover');
    fire(target, 'drop');
  }, { zone, plain });
}

/** Pastes a picture into the page. */
export async function paste(page, { name, type, bytes }) {
  await page.evaluate(({ name, type, base64 }) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name, { type }));
    document.body.dispatchEvent(new ClipboardEvent('paste', { bubbles: true, cancelable: true, clipboardData: transfer }));
  }, { name, type, base64: bytes.toString('base64') });
}

/** The grid cell whose label begins with a name. */
export const cell = (page, name) => page.locator(`[role=gridcell][aria-label^="${name}"]`);
