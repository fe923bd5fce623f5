"""What AscendC instructions do, in numpy, written from CANN's API documents and headers: never from the simulator."""
