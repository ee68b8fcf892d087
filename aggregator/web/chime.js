// Two soft notes, C and E.
{
  const audio = window.chime ??= new AudioContext();
  audio.resume();
  [523.25, 659.25].forEach((hertz, place) => {
    const tone = audio.createOscillator(), volume = audio.createGain(), at = audio.currentTime + 0.3 * place;
    tone.frequency.value = hertz;
    volume.gain.setValueAtTime(0, at);
    volume.gain.linearRampToValueAtTime(0.1, at + 0.05);
    volume.gain.exponentialRampToValueAtTime(0.001, at + 0.7);
    tone.connect(volume).connect(audio.destination);
    tone.start(at);
    tone.stop(at + 0.8);
  });
}
