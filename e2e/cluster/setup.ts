/**
 * `make setup`: everything that the test cluster needs and that can be made beforehand. What is
 * there already is left as it is, so that a second run ends in seconds.
 */
import { buildClusterBinaries, buildTools } from './build.ts';
import { abortOnSignal, failWith } from './command.ts';
import { pauseImage, sluiceImages } from './images.ts';
import { installHostPackages } from './install.ts';

const signal = abortOnSignal();
try {
  await installHostPackages({ signal });
  await buildTools({ signal });
  await buildClusterBinaries({ signal });
  await pauseImage();
  await sluiceImages({ signal });
  console.log('setup: all is there');
} catch (error) {
  failWith('setup', error);
}
