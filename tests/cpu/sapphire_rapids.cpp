// The processor that Bochs' Python package makes, a Tiger Lake, lacks AVX512_BF16. Loaded before the package,
// this function stands for its own of the same name, and makes the Sapphire Rapids that it has too.
struct Processor;
struct Model;

Model* create_sapphire_rapids(Processor*) asm("_Z28create_sapphire_rapids_cpuidP8BX_CPU_C");
Model* create_tigerlake(Processor*) asm("_Z22create_tigerlake_cpuidP8BX_CPU_C");

Model* create_tigerlake(Processor* processor) {
  return create_sapphire_rapids(processor);
}
