// A field of glass and chrome, for any number of tiles: no files are included, so nothing has to be sent along.
#version 3.7;
global_settings { assumed_gamma 1.0 max_trace_level 8 }
camera { location <0, 3.2, -9> look_at <0, 0.8, 0> angle 48 right x*16/9 }
light_source { <-6, 9, -7> rgb <1.0, 0.95, 0.85> area_light x*1.5, y*1.5, 3, 3 adaptive 1 }
light_source { <8, 5, -4> rgb <0.25, 0.3, 0.45> }
sky_sphere { pigment { gradient y color_map { [0 rgb <0.85, 0.9, 1>] [0.6 rgb <0.25, 0.45, 0.8>] } } }
plane { y, 0 pigment { checker rgb <0.92, 0.9, 0.86> rgb <0.16, 0.2, 0.26> scale 1.1 } finish { reflection 0.12 } }
#declare Places = seed(5352);
#for (Row, 0, 5)
  #for (Column, -4, 4)
    #declare Size = 0.22 + 0.28*rand(Places);
    sphere { <Column*1.15 + 0.5*rand(Places), Size, Row*1.3 - 2.5 + 0.5*rand(Places)>, Size
      #if (rand(Places) < 0.4)
        pigment { rgbf <0.9 + 0.1*rand(Places), 0.95, 0.9 + 0.1*rand(Places), 0.92> }
        finish { reflection { 0.05, 0.6 fresnel } conserve_energy specular 0.6 roughness 0.003 } interior { ior 1.45 }
      #else
        pigment { rgb <0.3 + 0.7*rand(Places), 0.2 + 0.5*rand(Places), 0.2 + 0.4*rand(Places)> }
        finish { reflection 0.35 metallic specular 0.7 roughness 0.01 }
      #end
    }
  #end
#end
